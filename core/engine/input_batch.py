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
    """token_ids, positions: [num_tokens]; sample_rows: rows whose logits are wanted."""

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
    positions: list[int] = []
    slots: list[int] = []
    for item, table in zip(scheduled, block_tables, strict=True):
        token_ids += item.request.token_ids[item.start : item.end]
        positions += range(item.start, item.end)
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
        positions=tensor(positions),
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
        ),
    )
