"""Prometheus metrics, with the names of vLLM's under the prefix `octavo:`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram, Info

from ..protocol.messages import (
    EngineFacts,
    EngineOutput,
    EngineRequest,
    EngineStats,
    MediaEvents,
    RequestTimings,
)
from ..protocol.outputs import RequestOutput
from ..protocol.runtime_facts import WeightGroup
from .http_metrics import HttpMetrics
from .media_metrics import MediaMetrics
from .process_metrics import server_registry

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1, 2.5)
#: Beside abort, of clients that left, and error, which a request that took too long ends with too.
_FINISH_REASONS = ("stop", "length", "abort", "error")
_COUNTED = (
    "prefix_cache_queries",
    "prefix_cache_hits",
    "num_preemptions",
    "encoder_runs",
    "encoder_loads",
)


class EngineMetrics:
    """What a server exposes; one registry for each, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = registry = server_registry()

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"octavo:{name}", text, registry=registry)

        def counter(name: str, text: str) -> Counter:
            return Counter(f"octavo:{name}", text, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
            return Histogram(f"octavo:{name}", text, registry=registry, buckets=buckets)

        self._running = gauge("num_requests_running", "Answers that are being computed.")
        self._waiting = gauge("num_requests_waiting", "Answers that wait to be scheduled.")
        self._kv_usage = gauge(
            "kv_cache_usage_perc", "Share of the KV blocks that requests hold, from 0 to 1."
        )
        self._kv_blocks = Gauge(
            "octavo:kv_blocks",
            "KV blocks, by state: used by requests; cached, which no request holds and whose "
            "contents a prompt may find; free of either.",
            ["state"],
            registry=registry,
        )
        self._counters = {
            "prefix_cache_queries": counter(
                "prefix_cache_queries", "Prompt tokens looked up in the prefix cache."
            ),
            "prefix_cache_hits": counter(
                "prefix_cache_hits", "Prompt tokens found in the prefix cache."
            ),
            "num_preemptions": counter("num_preemptions", "Preemptions."),
            "encoder_runs": counter("encoder_runs", "Images encoded."),
            "encoder_loads": counter(
                "encoder_loads", "Images whose features the engine took as they came."
            ),
        }
        self._engine_restarts = counter(
            "engine_restarts", "Times the engine's process died and was started again."
        )
        self.prompt_tokens = counter(
            "prompt_tokens", "Tokens of prompts whose answers have begun, cached ones too."
        )
        self.generation_tokens = counter("generation_tokens", "Tokens of answers.")
        successes = Counter(
            "octavo:request_success",
            "Answers that ended, by reason; some to a client that has left, or with an error.",
            ["finished_reason"],
            registry=registry,
        )
        self.request_success = {reason: successes.labels(reason) for reason in _FINISH_REASONS}
        self.time_to_first_token = histogram(
            "time_to_first_token_seconds", "From arrival to an answer's first token."
        )
        self.inter_token_latency = histogram(
            "inter_token_latency_seconds", "Between two tokens of an answer.", _TOKEN_SECONDS
        )
        self.e2e_request_latency = histogram(
            "e2e_request_latency_seconds", "From arrival to an answer's end."
        )
        self.request_preparation_time = histogram(
            "request_preparation_time_seconds",
            "From arrival until a request is handed to the engine.",
        )
        self.request_queue_time = histogram(
            "request_queue_time_seconds", "From then until the first step that computes it."
        )
        self.request_prefill_time = histogram(
            "request_prefill_time_seconds",
            "From then to the first token, without what the encoder took for its images.",
        )
        self._weights = Info(
            "octavo_weights",
            "What the layers of a quantised model are stored as, before they are packed.",
            ["layers", "format"],
            registry=registry,
        )
        self.media = MediaMetrics(registry)
        self.http = HttpMetrics(registry)
        self._last: EngineStats | None = None

    def restart(self) -> None:
        """The engine's process has died; another one counts from 0."""
        self._engine_restarts.inc()
        self._last = EngineStats()
        self.media.restart()

    def record(
        self, stats: EngineStats, facts: EngineFacts | None, media: MediaEvents | None = None
    ) -> None:
        """Take in the state after a step."""
        self._running.set(stats.num_requests_running)
        self._waiting.set(stats.num_requests_waiting)
        if facts is not None:
            self._kv_usage.set(1 - stats.num_free_blocks / facts.num_blocks)
            self._record_blocks(stats, facts.num_blocks)
        last = self._last or EngineStats()
        for name in _COUNTED:
            self._counters[name].inc(getattr(stats, name) - getattr(last, name))
        self._last = stats
        if media is not None and media.encode_seconds:
            self.media.record_encoded(len(media.encoded), media.encode_seconds)

    def record_weights(self, groups: Sequence[WeightGroup]) -> None:
        """Take in what the present engine's model is stored as."""
        self._weights.clear()
        for group in groups:
            labels = self._weights.labels(group.layers, group.format)
            labels.info({"count": str(group.count), "bytes": str(group.bytes)})

    def _record_blocks(self, stats: EngineStats, num_blocks: int) -> None:
        cached = stats.num_cached_blocks
        self._kv_blocks.labels("used").set(num_blocks - stats.num_free_blocks)
        self._kv_blocks.labels("cached").set(cached)
        self._kv_blocks.labels("free").set(stats.num_free_blocks - cached)

    @contextmanager
    def watch(self, request: EngineRequest) -> Iterator[RequestWatch]:
        """A watch on one request's answers; those that are open at the end were aborted, or have
        failed."""
        watch = RequestWatch(self, request)
        try:
            yield watch
        except (GeneratorExit, asyncio.CancelledError):
            watch.end("abort")
            raise
        except Exception:
            watch.end("error")
            raise


class RequestWatch:
    """Measures where the answer is received, so that the way from the engine counts too."""

    def __init__(self, metrics: EngineMetrics, request: EngineRequest) -> None:
        self._metrics = metrics
        self._arrival = request.arrival_time
        self._num_prompt_tokens = len(request.prompt_token_ids)
        self._open = set(range(request.sampling_params.n))
        self._last_token: dict[int, float] = {}

    def update(self, output: EngineOutput, finish_reason: str | None) -> None:
        """An answer got tokens, or ended. finish_reason: the answer's, which may have ended at a
        stop string that the engine knows nothing of, and goes on with for some steps."""
        if output.index not in self._open:
            return
        now = time.monotonic()
        if output.new_token_ids:
            self._count_tokens(output, now)
        if finish_reason is None:
            return
        self._open.discard(output.index)
        self._metrics.request_success[finish_reason].inc()
        if output.failure is None:
            self._metrics.e2e_request_latency.observe(now - self._arrival)

    def found(self, output: RequestOutput) -> None:
        """A beam search has ended, whose steps are requests of the engine's."""
        self._open.clear()
        self._metrics.prompt_tokens.inc(self._num_prompt_tokens)
        for answer in output.outputs:
            self._metrics.generation_tokens.inc(len(answer.token_ids))
            self._metrics.request_success[answer.finish_reason or "stop"].inc()
            self._metrics.e2e_request_latency.observe(time.monotonic() - self._arrival)

    def end(self, reason: str) -> None:
        """No more will come. reason: why answers that are open end here."""
        self._metrics.request_success[reason].inc(len(self._open))
        self._open.clear()

    def _count_tokens(self, output: EngineOutput, now: float) -> None:
        metrics = self._metrics
        if not self._last_token:
            metrics.prompt_tokens.inc(self._num_prompt_tokens)
        metrics.generation_tokens.inc(len(output.new_token_ids))
        last = self._last_token.get(output.index)
        if last is None:
            metrics.time_to_first_token.observe(now - self._arrival)
            if output.timings is not None:
                self._observe_stages(output.timings)
        else:
            metrics.inter_token_latency.observe(now - last)
        self._last_token[output.index] = now

    def _observe_stages(self, timings: RequestTimings) -> None:
        metrics = self._metrics
        metrics.request_preparation_time.observe(timings.submitted - timings.arrival)
        metrics.request_queue_time.observe(timings.first_scheduled - timings.submitted)
        prefill = timings.first_token - timings.first_scheduled - timings.encode
        metrics.request_prefill_time.observe(prefill)
