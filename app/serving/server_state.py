"""What the handlers share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from ...core.client.async_engine import AsyncEngine
from ...core.client.media_loader import MediaLoader
from ...core.observe.http_metrics import HttpMetrics
from ...core.observe.metrics import EngineMetrics
from ...core.prompts.input_processor import InputProcessor
from ...core.prompts.responses.answer_reader import AnswerReader
from ...core.protocol.config import EngineConfig
from ...core.protocol.messages import EngineFacts
from ...core.registry.registry import Registry
from .image_intake import ImageIntake
from .model_features import model_features
from .prompt_pool import PromptPool
from .response_store import ResponseStore
from .server_info import ServerInfo, server_info


@dataclass(frozen=True)
class ServerState:
    """The engine, what prepares its input, and the server's limits. answers: how they are taken
    apart; None if they are told as they are."""

    config: EngineConfig
    registry: Registry
    engine: AsyncEngine
    inputs: InputProcessor
    answers: AnswerReader | None
    prompts: PromptPool
    intake: ImageIntake
    loader: MediaLoader
    metrics: EngineMetrics
    model_name: str
    max_body_bytes: int
    started: int
    responses: ResponseStore = field(default_factory=ResponseStore)

    @property
    def facts(self) -> EngineFacts:
        """What requests are checked against; that of the present engine, as another process may
        have loaded other weights."""
        return self.engine.facts

    @property
    def alive(self) -> bool:
        """Whether requests can be taken now."""
        return self.engine.alive

    def health(self) -> dict[str, int | None]:
        """Of the engine's process."""
        stats = self.engine.stats
        return {
            "engine_pid": self.engine.pid,
            "num_free_blocks": stats.num_free_blocks,
            "encoder_cache_pinned_bytes": stats.encoder_cache_pinned_bytes,
        }

    def model_facts(self) -> dict[str, Any]:
        """What the model's clients may want to know."""
        return {
            "max_model_len": self.facts.max_model_len,
            "input_modalities": ["text", *(["image"] if self.inputs.takes_images else [])],
            "output_modalities": ["text"],
            "features": model_features(self.inputs, self.answers),
        }

    @property
    def chat_template(self) -> str:
        """In Jinja; "" if there is none."""
        return self.inputs.tokenizer.chat_template_text

    def info(self) -> ServerInfo:
        """What is told of the server."""
        facts = self.facts
        return server_info(
            self.model_name,
            facts.runtime,
            self.registry,
            self.config.max_num_seqs,
            num_blocks=facts.num_blocks,
            block_size=facts.block_size,
            max_model_len=facts.max_model_len,
        )

    def metrics_registry(self) -> CollectorRegistry:
        """The metrics, brought up to date."""
        self.loader.record(self.engine.stats.store)
        self.metrics.record_weights(self.facts.runtime.weights)
        return self.metrics.registry

    @property
    def http_metrics(self) -> HttpMetrics:
        """Those of requests."""
        return self.metrics.http
