"""Top-k and top-p sampling in NumPy, for CPUs without a compiler; only candidates are sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BLOCK = 64
#: Candidates for top-p that are tried before the whole vocabulary.
_LIKELIEST = 256

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]


def sample_top_k_top_p(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, uniform: Tensor
) -> Tensor:
    """See `kernels.ops.SampleTopKTopP`. A row's token depends on that row of the arguments alone,
    to the bit."""
    rows = logits.float().numpy()
    token_ids = rows.argmax(axis=-1)
    finite = np.isfinite(rows[np.arange(len(rows)), token_ids])
    drawn = finite & (temperature.numpy() > 0)
    settings = [t.numpy() for t in (temperature, top_k, top_p, uniform)]
    k, p = settings[1], settings[2]
    for kind, draw in (
        (k > 0, _draw_from_top_k),
        ((k <= 0) & (p < 1), _draw_from_top_p),
        ((k <= 0) & (p >= 1), _draw_from_all),
    ):
        chosen = (kind & drawn).nonzero()[0]
        if len(chosen):
            picked = torch.from_numpy(rows[chosen])
            token_ids[chosen] = list(draw(picked, *(values[chosen] for values in settings)))
    token_ids[~finite] = -1
    return torch.from_numpy(token_ids)


def _draw_from_top_k(
    logits: Tensor, temperature: Floats, top_k: Indices, top_p: Floats, uniform: Floats
) -> Iterator[int]:
    maxima = _reduce_blocks(logits, torch.amax)
    for row, limits, degree, k, share, u in zip(
        logits.numpy(), maxima.numpy(), temperature, top_k, top_p, uniform, strict=True
    ):
        kept = _likeliest(row, limits, k)
        kept = kept[_largest(row[kept], k)]
        values = row[kept].astype(np.float64)
        weights = np.exp((values - values.max()) / degree)
        if share < 1:
            nucleus = _nucleus(weights, share * weights.sum())
            kept, weights = kept[nucleus], weights[nucleus]
        yield int(kept[_pick(weights, u)])


def _draw_from_top_p(
    logits: Tensor, temperature: Floats, top_k: Indices, top_p: Floats, uniform: Floats
) -> Iterator[int]:
    probs = _probs(logits, temperature)
    maxima = _reduce_blocks(probs, torch.amax)
    for row, limits, share, u in zip(probs.numpy(), maxima.numpy(), top_p, uniform, strict=True):
        kept = _likeliest(row, limits, _LIKELIEST)
        weights = row[kept]
        if weights.sum(dtype=np.float64) < share:
            kept, weights = np.arange(len(row)), row
        nucleus = _nucleus(weights, share)
        yield int(kept[nucleus[_pick(weights[nucleus], u)]])


def _draw_from_all(
    logits: Tensor, temperature: Floats, top_k: Indices, top_p: Floats, uniform: Floats
) -> Iterator[int]:
    probs = _probs(logits, temperature)
    sums = _reduce_blocks(probs, torch.sum)
    for row, block_sums, u in zip(probs.numpy(), sums.numpy(), uniform, strict=True):
        running = np.cumsum(block_sums, dtype=np.float64)
        target = u * running[-1]
        block = int(np.searchsorted(running, target, side="right"))
        before = running[block - 1] if block else 0.0
        start = block * _BLOCK
        within = np.cumsum(row[start : start + _BLOCK], dtype=np.float64)
        # Sums of the block differ by rounding: stay within it.
        rest = min(target - before, np.nextafter(within[-1], 0))
        yield start + int(np.searchsorted(within, rest, side="right"))


def _probs(logits: Tensor, temperature: Floats) -> Tensor:
    scaled = logits / torch.from_numpy(temperature.astype(np.float32))[:, None]
    return scaled.softmax(dim=-1)


def _reduce_blocks(rows: Tensor, reduce: Callable[..., Tensor]) -> Tensor:
    """Block-wise reduction of each row, the last block being shorter: [n, num_blocks]."""
    num_whole = rows.shape[1] // _BLOCK
    whole = num_whole * _BLOCK
    reduced = [reduce(rows[:, :whole].view(len(rows), num_whole, _BLOCK), dim=-1)]
    if whole < rows.shape[1]:
        reduced.append(reduce(rows[:, whole:], dim=-1, keepdim=True))
    return torch.cat(reduced, dim=1)


def _likeliest(values: Floats, maxima: Floats, count: int) -> Indices:
    """Candidates: indices, in order, of all values not below the `count`-th largest block maximum,
    a lower bound of the `count`-th largest value."""
    if count > len(maxima):
        return np.arange(len(values))
    return np.flatnonzero(values >= np.partition(maxima, -count)[-count])


def _largest(values: Floats, count: int) -> Indices:
    """The indices of the `count` largest values, of equal ones the first, in order."""
    if count >= len(values):
        return np.arange(len(values))
    smallest = np.partition(values, -count)[-count]
    kept = np.flatnonzero(values >= smallest)
    surplus = len(kept) - count
    if surplus:
        equal = np.flatnonzero(values[kept] == smallest)
        kept = np.delete(kept, equal[-surplus:])
    return kept


def _nucleus(weights: Floats, mass: float) -> Indices:
    """The indices, in order, of weights that stay: those before, by size, are below `mass`."""
    ordered = np.sort(weights)[::-1]
    before = np.cumsum(ordered[:-1], dtype=np.float64)
    return _largest(weights, 1 + int(np.searchsorted(before, mass, side="left")))


def _pick(weights: Floats, uniform: float) -> int:
    """The first index where the running sum exceeds this share of the total."""
    running = np.cumsum(weights, dtype=np.float64)
    return int(np.searchsorted(running, uniform * running[-1], side="right"))
