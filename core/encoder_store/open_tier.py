"""The encoder store that the operator named, ready for use."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..protocol.config import EngineConfig
from ..registry.registry import Registry
from .open_store import open_store
from .tier import StoreTier, TierSettings

#: A secret in the environment signs what is written, and only what it signed is read.
SECRET_VARIABLE = "OCTAVO_ENCODER_CACHE_SECRET"


def open_tier(
    config: EngineConfig,
    registry: Registry,
    observe: Callable[[str, float], None] | None = None,
) -> StoreTier | None:
    """None without one. observe: takes each operation and its seconds. Raises ConfigError."""
    if config.encoder_cache is None:
        return None
    secret = os.environ.get(SECRET_VARIABLE)
    settings = TierSettings(
        ttl_seconds=config.encoder_cache_ttl,
        max_item_bytes=config.encoder_cache_max_item,
        compress=config.encoder_cache_compression,
        secret=None if secret is None else os.fsencode(secret),
    )
    name = config.encoder_cache.partition("://")[0]
    return StoreTier(
        name, open_store(config.encoder_cache, registry.encoder_stores), settings, observe
    )
