"""Features from an encoder store, if they are what the engine takes."""

from __future__ import annotations

from ..encoder_store.features import Features
from ..encoder_store.tier import StoreTier
from .messages import EngineReady, MediaInput


def find_features(tier: StoreTier, media: MediaInput, limits: EngineReady) -> Features | None:
    """Those of an image; others under its key, which would fail the engine, are deleted."""
    features = tier.get(media.media_key)
    if features is None:
        return None
    wanted = (media.num_features, limits.hidden_size)
    if features.array.shape != wanted or features.dtype != limits.dtype:
        found = f"{list(features.array.shape)} in {features.dtype}"
        tier.reject(media.media_key, f"{found}, not {list(wanted)} in {limits.dtype}")
        return None
    if not features.is_finite():
        tier.reject(media.media_key, "numbers that are not finite")
        return None
    return features
