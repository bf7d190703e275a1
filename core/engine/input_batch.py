"""Turns a step's chunks into the index tensors of one ragged forward."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...kernels.ops import AttentionMetadata
from .scheduler_output import ScheduledRequest

Int64s = NDArray[np.int64]


@dataclass(frozen=True)
class InputBatch:
    """token_ids: [num_tokens]; positions: [num_tokens], or [3, num_tokens] if a sequence has
    positions in height and width; sample_rows: rows whose logits are wanted."""

    token_ids: Tensor
    positions: Tensor
    sample_rows: Tensor
    metadata: AttentionMetadata


def build_input_batch(
    scheduled: Sequence[ScheduledRequest],
    block_tables: Sequence[array[int]],
    block_size: int,
    device: torch.device,
) -> InputBatch:
    """Lay the chunks end to end. block_tables: the block ids, of 64 bits, of each scheduled
    request."""
    token_ids: list[int] = []
    lengths, ends, samples = [], [], []
    for item in scheduled:
        end = item.end
        token_ids += item.request.token_ids[item.start : end]
        lengths.append(item.num_tokens)
        ends.append(end)
        samples.append(item.samples)
    query_lens, context_lens = tuple(lengths), tuple(ends)
    seq_lens = np.array(context_lens, dtype=np.int64)
    bounds = np.zeros(len(scheduled) + 1, dtype=np.int64)
    np.cumsum(query_lens, out=bounds[1:])
    # The sequence of each token, and its position there.
    rows = np.repeat(np.arange(len(scheduled)), query_lens)
    positions = np.arange(len(rows)) + (seq_lens - bounds[1:])[rows]
    block_table = _pad(block_tables)
    slots = block_table[rows, positions // block_size] * block_size + positions % block_size

    def tensor(values: Int64s) -> Tensor:
        return torch.from_numpy(values).to(device)

    return InputBatch(
        token_ids=tensor(np.array(token_ids, dtype=np.int64)),
        positions=tensor(_with_grids(positions, bounds, scheduled)),
        sample_rows=tensor((bounds[1:] - 1)[samples]),
        metadata=AttentionMetadata(
            query_start_loc=tensor(bounds),
            seq_lens=tensor(seq_lens),
            block_table=tensor(block_table),
            slot_mapping=tensor(slots),
            query_lens=query_lens,
            context_lens=context_lens,
            bidirectional=_bidirectional(positions, bounds, scheduled, device),
        ),
    )


def _pad(block_tables: Sequence[array[int]]) -> Int64s:
    """[num_seqs, max_blocks], filled with 0. By joining bytes, as numpy is slow on small pieces."""
    width = 8 * max(map(len, block_tables))
    joined = b"".join([table.tobytes().ljust(width, b"\0") for table in block_tables])
    return np.frombuffer(bytearray(joined), dtype=np.int64).reshape(len(block_tables), -1)


def _with_grids(positions: Int64s, bounds: Int64s, scheduled: Sequence[ScheduledRequest]) -> Int64s:
    """[num_tokens], or [3, num_tokens] with the positions of those whose images have a grid."""
    grids = [(row, item.request.grid_positions) for row, item in enumerate(scheduled)]
    if not any(grid for _, grid in grids):
        return positions
    positions = np.tile(positions, (3, 1))
    for row, grid in grids:
        if grid:
            item = scheduled[row]
            positions[:, bounds[row] : bounds[row + 1]] = grid.slice(item.start, item.end)
    return positions


def _bidirectional(
    positions: Int64s, bounds: Int64s, scheduled: Sequence[ScheduledRequest], device: torch.device
) -> Tensor | None:
    """See AttentionMetadata."""
    runs = [
        (bounds[row], item, run)
        for row, item in enumerate(scheduled)
        for run in item.request.bidirectional
        if run[0] < item.end and item.start < run[1]
    ]
    if not runs:
        return None
    visible = np.stack((positions, positions + 1), axis=1)
    for bound, item, (start, end) in runs:
        first, last = max(start, item.start) - item.start, min(end, item.end) - item.start
        visible[bound + first : bound + last] = start, end
    return torch.from_numpy(visible).to(device)
