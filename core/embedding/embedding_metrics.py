"""Prometheus metrics of a server of embeddings, named as a generating server's are."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from ..observe.http_metrics import HttpMetrics
from ..observe.media_metrics import MediaMetrics
from ..observe.process_metrics import server_registry

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40)


class EmbeddingMetrics:
    """What a server exposes; one registry for each, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = registry = server_registry()

        def counter(name: str, text: str) -> Counter:
            return Counter(f"octavo:{name}", text, registry=registry)

        self._running = Gauge(
            "octavo:num_requests_running", "Requests that are open.", registry=registry
        )
        self.prompt_tokens = counter("prompt_tokens", "Tokens of texts that were embedded.")
        self._successes = Counter(
            "octavo:request_success",
            "Requests that were answered.",
            ["finished_reason"],
            registry=registry,
        ).labels("stop")
        self._e2e_request_latency = Histogram(
            "octavo:e2e_request_latency_seconds",
            "From a request's arrival to its answer.",
            registry=registry,
            buckets=_SECONDS,
        )
        self._encoder_runs = counter("encoder_runs", "Images encoded.")
        self._texts = counter("texts_embedded", "Texts embedded.")
        self._batches = counter("embedding_batches", "Batches of texts or of images.")
        self._restarts = counter(
            "engine_restarts", "Times the engine's process died and was started again."
        )
        self.media = MediaMetrics(registry)
        self.http = HttpMetrics(registry)

    def record_open(self, count: int) -> None:
        """So many requests are open now."""
        self._running.set(count)

    def record_answer(self, seconds: float) -> None:
        """A request has its vectors, so long after it came."""
        self._successes.inc()
        self._e2e_request_latency.observe(seconds)

    def record_batch(self, num_texts: int, num_images: int, seconds: float) -> None:
        """A batch of one kind is done."""
        self._batches.inc()
        self._texts.inc(num_texts)
        self._encoder_runs.inc(num_images)
        if num_images:
            self.media.record_encoded(num_images, seconds)

    def record_restart(self) -> None:
        """The embedder's process has died, and another is to be started."""
        self._restarts.inc()
