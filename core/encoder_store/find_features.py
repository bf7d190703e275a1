"""Features from an encoder store, if they are what is to be used."""

from __future__ import annotations

from ..protocol.messages import EngineFacts, MediaInput
from .features import Features
from .tier import StoreTier


def find_features(tier: StoreTier, media: MediaInput, facts: EngineFacts) -> Features | None:
    """Those of an image, as the engine takes them."""
    shape = (media.num_features, facts.hidden_size)
    return find_fitting(tier, media.media_key, shape, facts.dtype)


def find_fitting(tier: StoreTier, key: str, shape: tuple[int, int], dtype: str) -> Features | None:
    """Those of a key; others under it, which would give a wrong answer or none, are deleted."""
    features = tier.get(key)
    if features is None:
        return None
    if features.array.shape != shape or features.dtype != dtype:
        found = f"{list(features.array.shape)} in {features.dtype}"
        tier.reject(key, f"{found}, not {list(shape)} in {dtype}")
        return None
    if not features.is_finite():
        tier.reject(key, "numbers that are not finite")
        return None
    return features
