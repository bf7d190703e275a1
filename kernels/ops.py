"""The operations every backend may implement: their names, signatures and shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class AttentionMetadata:
    """Where the tokens of one ragged batch live. Index tensors are int64.

    The batch concatenates, sequence after sequence, the tokens scheduled in this step.

    query_start_loc: [num_seqs + 1] offsets of each sequence's tokens in the batch.
    seq_lens:        [num_seqs] tokens in the KV cache after this step, these included.
    block_table:     [num_seqs, max_blocks] block ids, padded with 0.
    slot_mapping:    [num_tokens] flat KV slot of each token: block id * block size + offset.
    query_lens, context_lens: the same lengths as Python ints, so that no kernel waits for a
        device to read them.
    bidirectional:   [num_tokens, 2], or None if no token sees a later one: the run of positions
        [start, end) of its sequence that each token sees whole, besides what is before it. Runs
        are never cut between two steps unless their beginning is in the cache.
    """

    query_start_loc: Tensor
    seq_lens: Tensor
    block_table: Tensor
    slot_mapping: Tensor
    query_lens: tuple[int, ...]
    context_lens: tuple[int, ...]
    bidirectional: Tensor | None = None


class PagedAttention(Protocol):
    """Causal attention of a ragged batch over a paged KV cache."""

    def __call__(
        self,
        query: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        metadata: AttentionMetadata,
        scale: float,
        window: int = 0,
        softcap: float = 0.0,
    ) -> Tensor:
        """Attend.

        query: [num_tokens, num_heads, head_dim]
        key_cache, value_cache: [num_blocks, block_size, num_kv_heads, head_dim]
        window: a token sees this many positions, its own included; 0 is all before it.
        softcap: scores s become softcap * tanh(s / softcap); 0 leaves them.
        returns [num_tokens, num_heads, head_dim]
        """
        ...


class WriteKV(Protocol):
    """Store new keys and values in the paged cache, in place."""

    def __call__(
        self,
        key: Tensor,
        value: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        slot_mapping: Tensor,
    ) -> None:
        """key, value: [num_tokens, num_kv_heads, head_dim]; slot_mapping: [num_tokens]."""
        ...


class RMSNorm(Protocol):
    """Root-mean-square normalisation in float32, scaled by a weight in the weight's dtype."""

    def __call__(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """x: [..., hidden], weight: [hidden]; returns the shape and dtype of x."""
        ...


class RotaryEmbedding(Protocol):
    """Rotate the two halves of each head by the angle of the token's position."""

    def __call__(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x: [num_tokens, heads, head_dim], cos and sin: [num_tokens, rotary_dim]; what lies
        beyond rotary_dim is left as it is."""
        ...


class GatedActivation(Protocol):
    """activation(gate) * up, the activation being SiLU or the tanh approximation of GELU."""

    def __call__(self, gate: Tensor, up: Tensor) -> Tensor:
        """gate, up: [..., intermediate]."""
        ...


#: Every operation by the name that `OCTAVO_KERNELS` and plugins use.
OPS = (
    "paged_attention",
    "write_kv",
    "rms_norm",
    "rotary_embedding",
    "silu_and_mul",
    "gelu_tanh_and_mul",
)
