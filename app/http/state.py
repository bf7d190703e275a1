"""What the handlers share."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.engine.async_engine import AsyncEngine
from ...core.engine.config import EngineConfig
from ...core.engine.input_processor import InputProcessor
from ...core.engine.media_loader import MediaLoader
from ...core.engine.messages import EngineReady
from ...core.engine.metrics import EngineMetrics
from .image_intake import ImageIntake
from .prompt_pool import PromptPool


@dataclass(frozen=True)
class ServerState:
    """The engine, what prepares its input, and the server's limits."""

    config: EngineConfig
    engine: AsyncEngine
    inputs: InputProcessor
    prompts: PromptPool
    intake: ImageIntake
    loader: MediaLoader
    metrics: EngineMetrics
    model_name: str
    max_body_bytes: int
    started: int

    @property
    def limits(self) -> EngineReady:
        """What requests are checked against; that of the present engine, as another process may
        have loaded other weights."""
        assert self.engine.limits is not None
        return self.engine.limits
