"""Turns a step's chunks into the index tensors of one ragged forward."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ....kernels.ops import AttentionMetadata
from ...protocol.scheduler_output import ScheduledRequest
from .sequence_state import SequenceState


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
    states: Sequence[SequenceState],
    block_size: int,
    device: torch.device,
) -> InputBatch:
    """Lay the chunks end to end. states: of each scheduled request."""
    token_ids, positions, slots = array("q"), array("q"), array("q")
    bounds, seq_lens, sample_rows = array("q", [0]), array("q"), array("q")
    query_lens: list[int] = []
    block_tables = [state.block_table for state in states]
    for item, table in zip(scheduled, block_tables, strict=True):
        start, end = item.start, item.end
        token_ids.extend(item.token_ids)
        query_lens.append(end - start)
        positions.extend(range(start, end))
        for run in _slot_runs(table, start, end, block_size):
            slots.extend(run)
        bounds.append(len(token_ids))
        seq_lens.append(end)
        if end == item.num_known_tokens:
            sample_rows.append(len(token_ids) - 1)
    parts = [token_ids, positions, slots, bounds, seq_lens, sample_rows, _pad(block_tables)]
    tensors = _to_device(parts, device)
    grid_positions = _grid_positions(positions, bounds, scheduled, states)
    visible = _bidirectional(positions, bounds, scheduled)
    all_wanted = any(state.wants_prompt_logprobs for state in states)
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
            query_lens=tuple(query_lens),
            context_lens=tuple(seq_lens),
            bidirectional=None if visible is None else visible.to(device),
            output_rows=None if all_wanted else tensors[5],
            known_lens=tuple(item.num_known_tokens for item in scheduled),
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
    positions: array[int],
    bounds: array[int],
    scheduled: Sequence[ScheduledRequest],
    states: Sequence[SequenceState],
) -> Tensor | None:
    """[3, num_tokens], with the positions of those whose images have a grid; None if none has."""
    if not any(state.grid_positions for state in states):
        return None
    tiled = np.tile(np.frombuffer(positions, dtype=np.int64), (3, 1))
    for row, (item, state) in enumerate(zip(scheduled, states, strict=True)):
        if state.grid_positions:
            grid = state.grid_positions.slice(item.start, item.end)
            tiled[:, bounds[row] : bounds[row + 1]] = grid
    return torch.from_numpy(tiled)


def _bidirectional(
    positions: array[int], bounds: array[int], scheduled: Sequence[ScheduledRequest]
) -> Tensor | None:
    """See AttentionMetadata."""
    runs = [
        (bounds[row], item, run) for row, item in enumerate(scheduled) for run in item.bidirectional
    ]
    if not runs:
        return None
    own = np.frombuffer(positions, dtype=np.int64)
    visible = np.stack((own, own + 1), axis=1)
    for bound, item, (start, end) in runs:
        first, last = max(start, item.start) - item.start, min(end, item.end) - item.start
        visible[bound + first : bound + last] = start, end
    return torch.from_numpy(visible)
