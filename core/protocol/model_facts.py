"""What is known of a model once it is loaded."""

from __future__ import annotations

from typing import Literal

import msgspec

from .runtime_facts import RuntimeFacts


class ModelFacts(msgspec.Struct, frozen=True):
    """What scheduling depends on, and what requests are checked against.

    max_model_len: tokens of a sequence that the model takes and the memory holds.
    num_blocks: of the KV cache.
    recompute_beyond: see KVCacheSpec. image_attention: see ModelSpec.
    hidden_size, dtype, bytes_per_feature: width, number format and size of an image's features.
    encoder_digest, runtime: see EngineFacts.
    """

    max_model_len: int
    vocab_size: int
    num_blocks: int
    recompute_beyond: int | None
    image_attention: Literal["causal", "bidirectional", "prefix"]
    hidden_size: int
    dtype: str
    bytes_per_feature: int
    encoder_digest: str
    runtime: RuntimeFacts = RuntimeFacts()
