"""What the handlers share."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.client.async_engine import AsyncEngine
from ...core.client.media_loader import MediaLoader
from ...core.observe.metrics import EngineMetrics
from ...core.prompts.input_processor import InputProcessor
from ...core.protocol.config import EngineConfig
from ...core.protocol.messages import EngineReady
from ..serving.image_intake import ImageIntake
from ..serving.prompt_pool import PromptPool


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
