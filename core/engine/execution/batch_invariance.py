"""A forward whose result for a token depends on its own sequence alone, to the bit.

Matrix products and vectorised loops choose their path, and so their rounding, by the shape of
their input. Here every forward has the same shape: the tokens of one block of one sequence, each
at its place in the block, the other places filled. A token's shapes then follow from its position
alone, whether it is computed in a prompt, after a cache hit, in decode, alone or among others.
(The cause is described in "Defeating Nondeterminism in LLM Inference", Thinking Machines, 2025.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ....kernels.ops import AttentionMetadata
from ...contracts.interfaces import KVLayer, LanguageModel
from ...protocol.scheduler_output import ScheduledRequest


def forward_by_blocks(
    model: LanguageModel,
    embeds: Tensor,
    positions: Tensor,
    item: ScheduledRequest,
    block_table: Sequence[int],
    kv_cache: Sequence[KVLayer],
) -> Tensor:
    """Hidden states [num_tokens, hidden_size] of one request's chunk, from its embeddings and
    positions.

    The last block of kv_cache belongs to nobody and takes what the filled places write.
    """
    block_size = kv_cache[0].keys.shape[1]
    pieces = []
    for index in range(item.start // block_size, -(-item.end // block_size)):
        block_start = index * block_size
        first, last = max(item.start, block_start), min(item.end, block_start + block_size)
        tile = embeds.new_zeros(block_size, embeds.shape[1])
        places = slice(first - block_start, last - block_start)
        tokens = slice(first - item.start, last - item.start)
        tile[places] = embeds[tokens]
        tile_positions = positions.new_zeros(*positions.shape[:-1], block_size)
        tile_positions[..., places] = positions[..., tokens]
        metadata = _block_metadata(
            block_table[: index + 1], places, kv_cache[0].keys, item.num_known_tokens
        )
        pieces.append(model.forward(tile, tile_positions, kv_cache, metadata)[places])
    return torch.cat(pieces)


def _block_metadata(
    block_table: Sequence[int], places: slice, key_cache: Tensor, known_len: int
) -> AttentionMetadata:
    num_blocks, block_size = key_cache.shape[:2]

    def tensor(values: object) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=key_cache.device)

    context_len = len(block_table) * block_size
    slots = torch.arange(block_size, device=key_cache.device) + (num_blocks - 1) * block_size
    slots[places] += (block_table[-1] - (num_blocks - 1)) * block_size
    return AttentionMetadata(
        query_start_loc=tensor([0, block_size]),
        seq_lens=tensor([context_len]),
        block_table=tensor([list(block_table)]),
        slot_mapping=slots,
        query_lens=(block_size,),
        context_lens=(context_len,),
        known_lens=(known_len,),
    )
