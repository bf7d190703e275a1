"""Turns a step's chunks into the index tensors of one ragged forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from ...kernels.ops import AttentionMetadata
from .scheduler_output import ScheduledRequest


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
    block_tables: Sequence[Sequence[int]],
    block_size: int,
    device: torch.device,
) -> InputBatch:
    """Lay the chunks end to end. block_tables: the block ids of each scheduled request."""
    token_ids: list[int] = []
    slots: list[int] = []
    for item, table in zip(scheduled, block_tables, strict=True):
        token_ids += item.request.token_ids[item.start : item.end]
        slots += [
            table[p // block_size] * block_size + p % block_size
            for p in range(item.start, item.end)
        ]
    query_lens = tuple(item.num_tokens for item in scheduled)
    context_lens = tuple(item.end for item in scheduled)
    starts = list(accumulate(query_lens, initial=0))
    widest = max(map(len, block_tables))
    padded = [[*table, *[0] * (widest - len(table))] for table in block_tables]

    def tensor(values: Sequence[object]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=device)

    return InputBatch(
        token_ids=tensor(token_ids),
        positions=_positions(scheduled).to(device),
        sample_rows=tensor(
            [end - 1 for item, end in zip(scheduled, starts[1:], strict=True) if item.samples]
        ),
        metadata=AttentionMetadata(
            query_start_loc=tensor(starts),
            seq_lens=tensor(context_lens),
            block_table=tensor(padded),
            slot_mapping=tensor(slots),
            query_lens=query_lens,
            context_lens=context_lens,
            bidirectional=_bidirectional(scheduled, device),
        ),
    )


def _positions(scheduled: Sequence[ScheduledRequest]) -> Tensor:
    grids = [item.request.grid_positions for item in scheduled]
    if not any(grids):
        return torch.cat([torch.arange(item.start, item.end) for item in scheduled])
    return torch.cat(
        [
            torch.from_numpy(grid.slice(item.start, item.end))
            if grid
            else torch.arange(item.start, item.end).expand(3, -1)
            for item, grid in zip(scheduled, grids, strict=True)
        ],
        dim=1,
    )


def _bidirectional(scheduled: Sequence[ScheduledRequest], device: torch.device) -> Tensor | None:
    """See AttentionMetadata."""
    runs = [
        (row, item, run)
        for row, item in zip(
            accumulate((item.num_tokens for item in scheduled), initial=0), scheduled, strict=False
        )
        for run in item.request.bidirectional
        if run[0] < item.end and item.start < run[1]
    ]
    if not runs:
        return None
    positions = torch.cat([torch.arange(item.start, item.end) for item in scheduled])
    visible = torch.stack((positions, positions + 1), dim=1)
    for row, item, (start, end) in runs:
        first, last = max(start, item.start) - item.start, min(end, item.end) - item.start
        visible[row + first : row + last] = torch.tensor((start, end))
    return visible.to(device)
