"""What the handlers of a server of embeddings share."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.embedding.async_embedder import AsyncEmbedder
from ...core.embedding.embedding_metrics import EmbeddingMetrics
from ...core.embedding.image_vectors import ImageVectors
from .image_intake import ImageIntake


@dataclass(frozen=True)
class EmbeddingState:
    """The embedder, what gets it its images, and the server's limits.

    request_timeout: seconds that a request may take; None is forever.
    """

    embedder: AsyncEmbedder
    intake: ImageIntake
    images: ImageVectors
    metrics: EmbeddingMetrics
    model_name: str
    max_body_bytes: int
    request_timeout: float | None
    started: int
