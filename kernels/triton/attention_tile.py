"""Device function of both attention kernels: one tile of queries against a run of keys."""

from __future__ import annotations

import triton
import triton.language as tl

from .linear_kernels import widen


@triton.jit
def first_visible(position, runs, token, window: tl.constexpr):
    """First visible position of tokens of the batch, from their own positions."""
    first = tl.maximum(position - window + 1, 0) if window > 0 else position * 0
    return first if runs is None else tl.minimum(first, tl.load(runs + token * 2).to(tl.int32))


@triton.jit
def head_scales(scales, kv_head, stride_head: tl.constexpr):
    """Pointer to a head's first scale; stride_head is that of its codes, which are bytes."""
    return None if scales is None else scales + kv_head * (stride_head // 4)


@triton.jit
def load_scales(scales, offsets, inside, format: tl.constexpr):
    """Factors of the codes at these offsets of a cache, as `widen` gives them."""
    unit: tl.constexpr = 256.0 if format == "fp8" else 1.0
    return tl.load(scales + offsets // 4, mask=inside, other=0.0) * unit


@triton.jit
def attend(
    queries,
    first,
    last,
    begin,
    end,
    key_cache,
    key_scales,
    value_cache,
    value_scales,
    block_row,
    key_stride_block: tl.constexpr,
    key_stride_position: tl.constexpr,
    value_stride_block: tl.constexpr,
    value_stride_position: tl.constexpr,
    scale,
    softcap,
    capped: tl.constexpr,
    block_size: tl.constexpr,
    head_dim: tl.constexpr,
    block_rows: tl.constexpr,
    block_keys: tl.constexpr,
    block_dim: tl.constexpr,
    format: tl.constexpr,
):
    """Softmax in one pass over the keys at positions [begin, end) (Milakov and Gimelshein, 2018,
    arXiv:1805.02867).

    queries: [block_rows, block_dim]; first, last: [block_rows], the positions that a row sees.
    key_cache, value_cache: pointers to the head's first element; key_scales, value_scales: of a
    quantised cache, to its first scale, or None; block_row: to the sequence's block ids. Returns
    the weighted sum of values [block_rows, block_dim], not yet divided by the second, the sum of
    the weights, and the third, the scores' maximum in units of log 2.
    """
    dims = tl.arange(0, block_dim)
    maximum = tl.full((block_rows,), float("-inf"), tl.float32)
    total = tl.zeros((block_rows,), tl.float32)
    sums = tl.zeros((block_rows, block_dim), tl.float32)
    for start in range(begin, end, block_keys):
        positions = start + tl.arange(0, block_keys)
        inside = positions < end
        blocks = tl.load(block_row + positions // block_size, mask=inside, other=0)
        inner = positions % block_size
        key_offsets = blocks * key_stride_block + inner * key_stride_position
        keys = tl.load(
            key_cache + key_offsets[None, :] + dims[:, None],
            mask=inside[None, :] & (dims < head_dim)[:, None],
            other=0.0,
        )
        if key_scales is not None:
            keys = widen(keys, queries.dtype, format)
        scores = tl.dot(queries, keys, input_precision="tf32x3") * scale
        if key_scales is not None:
            scores *= load_scales(key_scales, key_offsets, inside, format)[None, :]
        if capped:
            # tanh(x) = 2 sigmoid(2x) - 1
            scores = softcap * (2 * tl.sigmoid(2 * scores / softcap) - 1)
        scores *= 1.4426950408889634
        visible = (positions >= first[:, None]) & (positions <= last[:, None]) & inside
        scores = tl.where(visible, scores, float("-inf"))
        new_maximum = tl.maximum(maximum, tl.max(scores, axis=1))
        # A row that has seen no key yet keeps -inf, which must not be subtracted from itself.
        shift = tl.where(new_maximum == float("-inf"), 0.0, new_maximum)
        weights = tl.exp2(scores - shift[:, None])
        shrink = tl.exp2(maximum - shift)
        total = total * shrink + tl.sum(weights, axis=1)
        maximum = new_maximum
        value_offsets = blocks * value_stride_block + inner * value_stride_position
        values = tl.load(
            value_cache + value_offsets[:, None] + dims[None, :],
            mask=inside[:, None] & (dims < head_dim)[None, :],
            other=0.0,
        )
        if value_scales is not None:
            factors = load_scales(value_scales, value_offsets, inside, format)
            values = (widen(values, tl.float32, format) * factors[:, None]).to(queries.dtype)
        sums = tl.dot(
            weights.to(values.dtype), values, sums * shrink[:, None], input_precision="tf32x3"
        )
    return sums, total, maximum
