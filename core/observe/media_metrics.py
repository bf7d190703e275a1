"""Prometheus metrics of images: what each stage takes, and where features were found."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ..encoder_store.tier import TierStats
from ..protocol.messages import StoreWrites

_STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
#: Counters of TierStats, and what each says.
_TIER_COUNTERS = {
    "errors": "Operations that an encoder store failed or refused.",
    "corrupt": "Entries of an encoder store that could not be trusted, and were deleted.",
    "bytes_read": "Bytes read from an encoder store.",
}


class MediaMetrics:
    """Kept in the registry of EngineMetrics; any thread may observe."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def labelled(name: str, text: str) -> Counter:
            return Counter(f"octavo:encoder_cache_{name}", text, ["tier"], registry=registry)

        self._stages = Histogram(
            "octavo:image_stage_seconds",
            "What a stage of an image took: fetch, inspect, lookup, pool (waiting for a process), "
            "decode, preprocess, encode.",
            ["stage"],
            registry=registry,
            buckets=_STAGE_SECONDS,
        )
        self._store_seconds = Histogram(
            "octavo:encoder_store_latency_seconds",
            "What an operation of an encoder store took.",
            ["operation"],
            registry=registry,
            buckets=_STAGE_SECONDS,
        )
        self._hits = labelled("hits", "Images whose features were found, by tier.")
        self._misses = labelled("misses", "Images whose features were not found, by tier.")
        self._counters = {name: labelled(name, text) for name, text in _TIER_COUNTERS.items()}
        self._written = labelled("bytes_written", "Bytes written to an encoder store.")
        self._writes = labelled("writes", "Images whose features were written.")
        self._dropped = labelled("dropped", "Images whose features were not written, for haste.")
        self._breaker = Gauge(
            "octavo:encoder_cache_breaker_open",
            "Whether an encoder store is left alone for now, as it fails.",
            ["tier"],
            registry=registry,
        )
        self._last_reads = TierStats()
        self._last_writes = StoreWrites()

    def observe_stage(self, stage: str, seconds: float) -> None:
        """A stage of one image is done."""
        self._stages.labels(stage).observe(seconds)

    def observe_store(self, operation: str, seconds: float) -> None:
        """An operation of the encoder store is done."""
        self._store_seconds.labels(operation).observe(seconds)

    def count_lookup(self, tier: str, found: bool) -> None:
        """Features were looked for in a tier."""
        (self._hits if found else self._misses).labels(tier).inc()

    def record_encoded(self, count: int, seconds: float) -> None:
        """The encoder took so long for so many images together."""
        for _ in range(count):
            self.observe_stage("encode", seconds / count)

    def record_reads(self, tier: str, stats: TierStats) -> None:
        """Take in what this process did with the store so far."""
        for name, counter in self._counters.items():
            counter.labels(tier).inc(getattr(stats, name) - getattr(self._last_reads, name))
        self._last_reads = stats
        self._breaker.labels(tier).set(stats.breaker_open or self._last_writes.breaker_open)

    def record_writes(self, tier: str, writes: StoreWrites) -> None:
        """Take in what the engine wrote to the store so far."""
        last = self._last_writes
        self._writes.labels(tier).inc(writes.writes - last.writes)
        self._written.labels(tier).inc(writes.bytes_written - last.bytes_written)
        self._dropped.labels(tier).inc(writes.dropped - last.dropped)
        self._counters["errors"].labels(tier).inc(writes.errors - last.errors)
        self._last_writes = writes

    def restart(self) -> None:
        """Another engine process counts from 0."""
        self._last_writes = StoreWrites()
