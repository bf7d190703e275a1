"""Kernels of sampling: search for the smallest logit kept, then the draw among those kept."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def float_key(value):
    """An int64 that orders as the float32 does; -0.0 and 0.0 are equal."""
    bits = (value + 0.0).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.int64)


@triton.jit
def key_float(key):
    """The float32 that an int64 key was made from."""
    bits = key.to(tl.int32)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.float32, bitcast=True)


@triton.jit
def weights_of(values, peak, temperature):
    """Unnormalised probabilities, 1 for the largest logit."""
    return tl.exp((values - peak) / temperature)


@triton.jit
def measure(
    row, vocab_size, a, b, c, peak, temperature, counted: tl.constexpr, block: tl.constexpr
):
    """Mass at or above each of the keys a, b and c: the number of logits if counted, exact to 2^24,
    otherwise the sum of their weights. Float32 both."""
    sum_a = 0.0
    sum_b = 0.0
    sum_c = 0.0
    for start in range(0, vocab_size, block):
        columns = start + tl.arange(0, block)
        inside = columns < vocab_size
        values = tl.load(row + columns, mask=inside, other=float("-inf")).to(tl.float32)
        keys = float_key(values)
        weights = inside.to(tl.float32) if counted else weights_of(values, peak, temperature)
        sum_a += tl.sum(tl.where(keys >= a, weights, 0.0))
        sum_b += tl.sum(tl.where(keys >= b, weights, 0.0))
        sum_c += tl.sum(tl.where(keys >= c, weights, 0.0))
    return sum_a, sum_b, sum_c


@triton.jit
def search(
    row,
    vocab_size,
    low,
    high,
    target,
    peak,
    temperature,
    counted: tl.constexpr,
    block: tl.constexpr,
):
    """Largest key in [low, high) with a mass of at least `target` at or above it, and that above.

    The mass above low must reach target, and that above high must be 0; target is more than 0.
    """
    above = 0.0
    while high - low > 1:
        step = tl.maximum((high - low) // 4, 1)
        a = low + step
        b = tl.minimum(a + step, high)
        c = tl.minimum(b + step, high)
        sum_a, sum_b, sum_c = measure(row, vocab_size, a, b, c, peak, temperature, counted, block)
        in_a, in_b, in_c = sum_a >= target, sum_b >= target, sum_c >= target
        low = tl.where(in_c, c, tl.where(in_b, b, tl.where(in_a, a, low)))
        high = tl.where(in_c, high, tl.where(in_b, c, tl.where(in_a, b, a)))
        above = tl.where(in_c, above, tl.where(in_b, sum_c, tl.where(in_a, sum_b, sum_a)))
    return low, above


@triton.jit
def find_peak(row, vocab_size, block: tl.constexpr):
    """The largest logit and the first token that has it; -1 if it is not finite."""
    peak = float("-inf")
    token = -1
    broken = 0
    for start in range(0, vocab_size, block):
        columns = start + tl.arange(0, block)
        inside = columns < vocab_size
        values = tl.load(row + columns, mask=inside, other=float("-inf")).to(tl.float32)
        broken |= tl.max((values != values).to(tl.int32), axis=0)
        block_peak = tl.max(values, axis=0)
        first = tl.min(tl.where((values == block_peak) & inside, columns, vocab_size), axis=0)
        token = tl.where(block_peak > peak, first, token)
        peak = tl.maximum(peak, block_peak)
    return peak, tl.where((broken > 0) | (peak == float("inf")), -1, token)


@triton.jit
def draw(row, vocab_size, threshold, keep, target, peak, temperature, block: tl.constexpr):
    """The first token where the running sum of weights exceeds target, over those with a key above
    the threshold and the first `keep` at it. Should rounding leave none, the last of them."""
    running = 0.0
    equals = 0
    found = -1
    last = 0
    start = 0
    while (found < 0) & (start < vocab_size):
        columns = start + tl.arange(0, block)
        inside = columns < vocab_size
        values = tl.load(row + columns, mask=inside, other=float("-inf")).to(tl.float32)
        keys = float_key(values)
        equal = ((keys == threshold) & inside).to(tl.int32)
        ranks = equals + tl.cumsum(equal, axis=0)
        stays = (keys > threshold) | ((equal > 0) & (ranks <= keep))
        weights = tl.where(stays, weights_of(values, peak, temperature), 0.0)
        reached = (weights > 0) & (running + tl.cumsum(weights, axis=0) > target)
        first = tl.min(tl.where(reached, columns, vocab_size), axis=0)
        found = tl.where(first < vocab_size, first, -1)
        last = tl.maximum(last, tl.max(tl.where(weights > 0, columns, 0), axis=0))
        equals += tl.sum(equal, axis=0)
        running += tl.sum(weights, axis=0)
        start += block
    return tl.where(found < 0, last, found)


@triton.jit
def sample_kernel(
    logits,
    temperatures,
    top_ks,
    top_ps,
    uniforms,
    tokens,
    vocab_size,
    logits_stride,
    block: tl.constexpr,
):
    """One program draws the token of one row."""
    index = tl.program_id(0).to(tl.int64)
    row = logits + index * logits_stride
    peak, token = find_peak(row, vocab_size, block)
    temperature = tl.load(temperatures + index)
    if (temperature == 0) | (token < 0):
        tl.store(tokens + index, token)
        return
    top_k = tl.load(top_ks + index)
    top_p = tl.load(top_ps + index)
    low = float_key(float("-inf") + peak * 0)
    high = float_key(peak) + 1
    # Ties with the smallest logit kept: the first `keep` are kept.
    keep = vocab_size + top_k * 0
    threshold = low
    if (top_k > 0) & (top_k < vocab_size):
        threshold, count = search(
            row, vocab_size, low, high, top_k.to(tl.float32), peak, temperature, True, block
        )
        keep = top_k - count.to(tl.int64)
    above, _, _ = measure(
        row, vocab_size, threshold + 1, high, high, peak, temperature, False, block
    )
    total = above + keep.to(tl.float32) * weights_of(key_float(threshold), peak, temperature)
    if top_p < 1:
        share = tl.maximum(top_p * total, 1e-30)
        nucleus, above_nucleus = search(
            row, vocab_size, threshold, high, share, peak, temperature, False, block
        )
        weight = weights_of(key_float(nucleus), peak, temperature)
        needed = tl.ceil((share - above_nucleus) / tl.maximum(weight, 1e-30))
        available = tl.where(nucleus > threshold, vocab_size, keep).to(tl.float32)
        keep = tl.minimum(tl.maximum(needed, 1.0), available).to(tl.int64)
        threshold = nucleus
        total = above_nucleus + keep.to(tl.float32) * weight
    target = tl.load(uniforms + index) * total
    chosen = draw(row, vocab_size, threshold, keep, target, peak, temperature, block)
    tl.store(tokens + index, chosen)
