"""Operations that a backend may implement: names, signatures and shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor


@dataclass(frozen=True)
class AttentionMetadata:
    """Index tensors, int64, of one ragged batch over the paged cache.

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
    output_rows:     rows of the batch, ascending and unique, whose outputs are used; others are
        undefined. None for all. A wrapper that needs every row must pass
        `replace(metadata, output_rows=None)`.
    known_lens:      tokens of each sequence as far as it is known, those of later steps too, for
        what depends on a sequence's whole length. None where none follow: context_lens.
    """

    query_start_loc: Tensor
    seq_lens: Tensor
    block_table: Tensor
    slot_mapping: Tensor
    query_lens: tuple[int, ...]
    context_lens: tuple[int, ...]
    bidirectional: Tensor | None = None
    output_rows: Tensor | None = None
    known_lens: tuple[int, ...] | None = None


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
        key_cache, value_cache: [num_blocks, block_size, num_kv_heads, head_width], in a dtype that
            may be narrower than the query's, and of the same strides: a position's heads lie
            together, but there may be something else between two blocks. head_width is head_dim,
            or more in quantised formats: see `kernels.kv_format`.
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
        """key, value: [num_tokens, num_kv_heads, head_dim], rounded to the caches' dtype, or
        quantised, if it is one of `kernels.kv_format`; slot_mapping: [num_tokens]."""
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


QuantizedFormat = Literal["int8", "int4", "fp8"]


@dataclass(frozen=True)
class QuantizedWeight:
    """A linear layer's weight in fewer bits: w = scale * q + zero, or scale * q without a zero.

    format: what q is and how `data` holds it:
        int8: integers, int8 [out_features, in_features];
        fp8:  floats, float8_e4m3fn [out_features, in_features];
        int4: integers from 0 to 15, uint8 [out_features, in_features / 2]. A group takes
            group_size / 2 bytes, and byte j of it holds q[j] in its low four bits and
            q[j + group_size / 2] in its high ones.
    scale: float32 [out_features, in_features / group_size].
    zero: of the same shape and dtype, or None.
    group_size: how many inputs in a row share a scale; in_features for one scale per channel.

    Tensors are contiguous. Raises ValueError for tensors that don't fit together.
    """

    format: QuantizedFormat
    data: Tensor
    scale: Tensor
    zero: Tensor | None
    group_size: int

    def __post_init__(self) -> None:
        dtypes = {"int8": torch.int8, "int4": torch.uint8, "fp8": torch.float8_e4m3fn}
        if self.format not in dtypes:
            known = ", ".join(get_args(QuantizedFormat))
            raise ValueError(f"quantized weight: no format {self.format!r}; there are: {known}")
        if self.data.dim() != 2 or self.data.dtype != dtypes[self.format]:
            raise ValueError(
                f"quantized weight: {self.format} data must be two-dimensional and of "
                f"{dtypes[self.format]}, not {list(self.data.shape)} of {self.data.dtype}"
            )
        if self.group_size < 1 or self.in_features % self.group_size:
            raise ValueError(
                f"quantized weight: {self.in_features} inputs are not a multiple of the group "
                f"size {self.group_size}"
            )
        if self.format == "int4" and self.group_size % 2:
            raise ValueError(
                f"quantized weight: an int4 group must be of even size, not {self.group_size}"
            )
        if not all(t.is_contiguous() for t in (self.data, self.scale, self.zero) if t is not None):
            raise ValueError("quantized weight: its tensors must be contiguous")
        shape = (self.out_features, self.in_features // self.group_size)
        for name, tensor in (("scale", self.scale), ("zero", self.zero)):
            if tensor is not None and (tensor.shape != shape or tensor.dtype != torch.float32):
                raise ValueError(
                    f"quantized weight: {name} must be float32 {list(shape)}, not "
                    f"{tensor.dtype} {list(tensor.shape)}"
                )

    @property
    def out_features(self) -> int:
        """Rows of the weight."""
        return self.data.shape[0]

    @property
    def in_features(self) -> int:
        """Columns of the weight."""
        return self.data.shape[1] * (2 if self.format == "int4" else 1)


class AddRMSNorm(Protocol):
    """Add a residual and normalise the sum, in one pass over memory."""

    def __call__(
        self, x: Tensor, residual: Tensor, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        """x, residual: [..., hidden] of one dtype, weight: [hidden]; returns rms_norm(x +
        residual) and x + residual. The sum is rounded to its dtype before it is normalised."""
        ...


class RotaryWriteKV(Protocol):
    """Rotate queries and keys, and store keys and values in the paged cache, in place."""

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cos: Tensor,
        sin: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        slot_mapping: Tensor,
    ) -> Tensor:
        """query: [num_tokens, num_heads, head_dim]; key, value: [num_tokens, num_kv_heads,
        head_dim]; cos, sin, the caches and slot_mapping as in `RotaryEmbedding` and `WriteKV`.
        Returns the rotated query."""
        ...


class DequantLinear(Protocol):
    """A linear layer whose weight is stored in fewer bits than it is multiplied in."""

    def __call__(self, x: Tensor, weight: QuantizedWeight, bias: Tensor | None = None) -> Tensor:
        """x: [..., in_features], bias: [out_features]; returns x @ w.T + bias, [...,
        out_features] in the dtype of x."""
        ...


class SampleTopKTopP(Protocol):
    """Draw one token per row from the softmax of logits / temperature, truncated."""

    def __call__(
        self,
        logits: Tensor,
        temperature: Tensor,
        top_k: Tensor,
        top_p: Tensor,
        uniform: Tensor,
    ) -> Tensor:
        """Draw.

        logits: [n, vocab_size]; -inf is never drawn.
        temperature: [n] float32; 0 takes the largest logit, the first of equals.
        top_k: [n] int64; the k largest logits stay, of equal ones the first; 0 keeps all.
        top_p: [n] float32; then a token stays if those before it, by falling logit, don't yet
            reach this share of the probability; the first one always does; 1 keeps all.
        uniform: [n] float32 in [0, 1). The token drawn is the first one, in the order of the
            vocabulary, where the running sum of the probabilities that stay exceeds this share of
            their total.
        returns [n] token ids, int64; -1 for a row whose largest logit is not finite, NaN counting
            as the largest
        """
        ...


class MaskTokens(Protocol):
    """Rule tokens out of some rows of logits."""

    def __call__(self, logits: Tensor, rows: Tensor, bitmask: Tensor) -> None:
        """Change logits in place.

        logits: [n, vocab_size] float32, the logits of a row contiguous.
        rows: [m] int64, which of them, each once.
        bitmask: [m, at least vocab_size / 32] int32, contiguous. Where bit i % 32, the lowest
            first, of word i // 32 is not set, the logit of token i becomes -inf.
        """
        ...


#: Operations that read or write the KV cache.
KV_OPS = ("paged_attention", "write_kv", "rotary_write_kv", "decoder")
#: Every operation by the name that `OCTAVO_KERNELS` and plugins use.
OPS = (
    "paged_attention",
    "write_kv",
    "rms_norm",
    "add_rms_norm",
    "rotary_embedding",
    "rotary_write_kv",
    "silu_and_mul",
    "gelu_tanh_and_mul",
    "dequant_linear",
    "sample_top_k_top_p",
    "mask_tokens",
    "linear",
    "decoder",
    "encoder",
)
