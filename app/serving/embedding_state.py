"""What the handlers of a server of embeddings share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry

from ...core.embedding.async_embedder import AsyncEmbedder
from ...core.embedding.embedding_metrics import EmbeddingMetrics
from ...core.embedding.image_vectors import ImageVectors
from ...core.observe.http_metrics import HttpMetrics
from ...core.registry.registry import Registry
from .image_intake import ImageIntake
from .server_info import ServerInfo, server_info


@dataclass(frozen=True)
class EmbeddingState:
    """The embedder, what gets it its images, and the server's limits.

    max_num_seqs: requests that are meant to run at once.
    request_timeout: seconds that a request may take; None is forever.
    """

    embedder: AsyncEmbedder
    registry: Registry
    intake: ImageIntake
    images: ImageVectors
    metrics: EmbeddingMetrics
    model_name: str
    max_body_bytes: int
    max_num_seqs: int
    request_timeout: float | None
    started: int

    @property
    def alive(self) -> bool:
        """Whether requests can be taken now."""
        return self.embedder.alive

    def health(self) -> dict[str, int | None]:
        """Of the embedder's process."""
        return {"engine_pid": self.embedder.pid}

    def model_facts(self) -> dict[str, Any]:
        """What the model's clients may want to know."""
        return {
            "dimensions": self.embedder.ready.dimension,
            "input_modalities": ["text", "image"],
            "output_modalities": ["embedding"],
            "features": ["embeddings"],
        }

    @property
    def chat_template(self) -> str:
        """None is had."""
        return ""

    def info(self) -> ServerInfo:
        """What is told of the server."""
        runtime = self.embedder.ready.runtime
        return server_info(self.model_name, runtime, self.registry, self.max_num_seqs)

    def metrics_registry(self) -> CollectorRegistry:
        """The metrics, brought up to date."""
        self.images.record()
        return self.metrics.registry

    @property
    def http_metrics(self) -> HttpMetrics:
        """Those of requests."""
        return self.metrics.http
