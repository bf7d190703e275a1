"""Writes features to the encoder store, behind the engine's back."""

from __future__ import annotations

from torch import Tensor

from ...encoder_store.open_tier import open_tier
from ...encoder_store.tier import StoreTier
from ...encoder_store.write_behind import WriteBehind
from ...protocol.config import EngineConfig
from ...protocol.messages import StoreWrites
from ...registry.registry import Registry
from .feature_arrays import from_tensor

_QUEUED_BYTES = 64 * 2**20


class FeatureWriter:
    """A thread's queue, so that a slow store never holds up a step. max_item: bytes of the
    largest features that are written."""

    def __init__(self, tier: StoreTier, max_item: int) -> None:
        self._tier = tier
        self._behind = WriteBehind(tier, max(_QUEUED_BYTES, max_item))

    @classmethod
    def open(cls, config: EngineConfig, registry: Registry) -> FeatureWriter | None:
        """None without an encoder store. Raises ConfigError for one that can't be used."""
        tier = open_tier(config, registry)
        return None if tier is None else cls(tier, config.encoder_cache_max_item)

    def submit(self, media_key: str, features: Tensor) -> None:
        """Have an image's features written; they must not change any more."""
        self._behind.submit(media_key, from_tensor(features))

    def stats(self) -> StoreWrites:
        """What was written so far."""
        stats = self._tier.stats
        return StoreWrites(
            stats.writes,
            stats.bytes_written,
            stats.errors,
            self._behind.dropped,
            stats.breaker_open,
        )

    def close(self, timeout: float) -> None:
        """Write what waits, for so many seconds at the most."""
        self._behind.close(timeout)
