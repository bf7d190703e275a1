"""Names for the contents of KV blocks: a chain of SHA-256 digests over tokens and images."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

from .messages import MediaSpan

_ROOT = b"octavo-block-1"
#: As long as the other, so that no salt can make one of the other.
_RECOMPUTED_ROOT = b"octavo-block-2"


def root_hash(cache_salt: str, recomputed: bool = False) -> bytes:
    """The parent of a sequence's first block; requests share blocks only under one salt, and only
    if both or neither were recomputed (see `KVCacheSpec.recompute_beyond`)."""
    root = _RECOMPUTED_ROOT if recomputed else _ROOT
    return hashlib.sha256(root + cache_salt.encode()).digest()


def hash_block(
    parent: bytes, token_ids: Sequence[int], start: int, spans: Sequence[MediaSpan]
) -> bytes:
    """The digest of one full block that begins at position `start` of its sequence.

    H(parent, token ids, [(media key, which feature the block begins with)…]): the placeholder
    tokens of two images are equal, so the images themselves must be part of the name.
    """
    digest = hashlib.sha256(parent)
    digest.update(array("q", token_ids).tobytes())
    end = start + len(token_ids)
    for span in spans:
        if span.offset < end and start < span.end:
            first_feature = span.feature_start + start - span.offset
            digest.update(f"|{span.media_key}:{first_feature}".encode())
    return digest.digest()
