"""What the handlers share."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.engine.async_engine import AsyncEngine
from ...core.engine.input_processor import InputProcessor
from ...core.engine.messages import EngineReady
from ...core.engine.metrics import EngineMetrics


@dataclass(frozen=True)
class ServerState:
    """The engine, what prepares its input, and the server's limits."""

    engine: AsyncEngine
    inputs: InputProcessor
    metrics: EngineMetrics
    limits: EngineReady
    model_name: str
    max_image_pixels: int
    max_body_bytes: int
    started: int
