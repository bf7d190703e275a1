"""Turns a step's chunks into the index tensors of one ragged forward."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ....kernels.ops import AttentionMetadata
from ..scheduling.scheduler_output import ScheduledRequest


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
    token_ids, positions, slots = array("q"), array("q"), array("q")
    bounds, seq_lens, sample_rows = array("q", [0]), array("q"), array("q")
    for item, table in zip(scheduled, block_tables, strict=True):
        start, end = item.start, item.end
        token_ids.extend(item.request.token_ids[start:end])
        positions.extend(range(start, end))
        for run in _slot_runs(table, start, end, block_size):
            slots.extend(run)
        bounds.append(len(token_ids))
        seq_lens.append(end)
        if item.samples:
            sample_rows.append(len(token_ids) - 1)
    parts = [token_ids, positions, slots, bounds, seq_lens, sample_rows, _pad(block_tables)]
    tensors = _to_device(parts, device)
    grid_positions = _grid_positions(positions, bounds, scheduled)
    visible = _bidirectional(positions, bounds, scheduled)
    all_wanted = any(item.request.wants_prompt_logprobs for item in scheduled)
    all_wanted = all_wanted or len(sample_rows) == len(token_ids)
    return InputBatch(
        token_ids=tensors[0],
        positions=tensors[1] if grid_positions is None else grid_positions.to(device),
        sample_rows=tensors[5],
        metadata=AttentionMetadata(
            query_start_loc=tensors[3],
            seq_lens=tensors[4],
            block_table=tensors[6].view(len(scheduled), -1),
            slot_mapping=tensors[2],
            query_lens=tuple(item.num_tokens for item in scheduled),
            context_lens=tuple(seq_lens),
            bidirectional=None if visible is None else visible.to(device),
            output_rows=None if all_wanted else tensors[5],
            known_lens=tuple(item.request.num_tokens for item in scheduled),
        ),
    )


def _slot_runs(table: array[int], start: int, end: int, block_size: int) -> Iterator[range]:
    """The slots of positions start … end - 1, block by block."""
    while start < end:
        index, offset = divmod(start, block_size)
        slot = table[index] * block_size + offset
        length = min(end - start, block_size - offset)
        yield range(slot, slot + length)
        start += length


def _pad(block_tables: Sequence[array[int]]) -> array[int]:
    """[num_seqs * max_blocks], filled with 0."""
    width = 8 * max(map(len, block_tables))
    return array("q", b"".join([table.tobytes().ljust(width, b"\0") for table in block_tables]))


def _to_device(parts: Sequence[array[int]], device: torch.device) -> tuple[Tensor, ...]:
    """Each as a tensor: all are copied at once."""
    buffer = array("q", b"".join(parts))
    joined = torch.frombuffer(buffer, dtype=torch.int64).to(device)
    return torch.split(joined, [len(part) for part in parts])


def _grid_positions(
    positions: array[int], bounds: array[int], scheduled: Sequence[ScheduledRequest]
) -> Tensor | None:
    """[3, num_tokens], with the positions of those whose images have a grid; None if none has."""
    grids = [(row, item.request.grid_positions) for row, item in enumerate(scheduled)]
    if not any(grid for _, grid in grids):
        return None
    tiled = np.tile(np.frombuffer(positions, dtype=np.int64), (3, 1))
    for row, grid in grids:
        if grid:
            item = scheduled[row]
            tiled[:, bounds[row] : bounds[row + 1]] = grid.slice(item.start, item.end)
    return torch.from_numpy(tiled)


def _bidirectional(
    positions: array[int], bounds: array[int], scheduled: Sequence[ScheduledRequest]
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
    own = np.frombuffer(positions, dtype=np.int64)
    visible = np.stack((own, own + 1), axis=1)
    for bound, item, (start, end) in runs:
        first, last = max(start, item.start) - item.start, min(end, item.end) - item.start
        visible[bound + first : bound + last] = start, end
    return torch.from_numpy(visible)
