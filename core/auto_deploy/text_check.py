"""What a model answers to texts as it was loaded, to hold the deployed one against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ...kernels.ops import AttentionMetadata
from ..contracts.interfaces import LanguageModel
from ..contracts.specs import JsonDict
from ..device.kv_memory import allocate_kv_cache
from .agreement import Agreement

_BLOCK_SIZE = 4


class TextCheck:
    """A transformers model's greedy answers to prompts of arbitrary tokens.

    num_prompts, prompt_tokens: prompts of so many tokens; num_tokens: of each answer.
    prefix: the prompts see themselves; transformers is told by token types.
    """

    @torch.inference_mode()
    def __init__(
        self,
        model: Any,
        num_prompts: int = 2,
        prompt_tokens: int = 12,
        num_tokens: int = 4,
        prefix: bool = False,
    ) -> None:
        self._device = model.device
        self._num_prompts = num_prompts
        self._prompt_tokens = prompt_tokens
        self._num_tokens = num_tokens
        self._prefix = prefix
        prompts = torch.tensor(_token_ids(model, num_prompts * prompt_tokens))
        tokens = prompts.view(num_prompts, prompt_tokens).to(self._device)
        rows = []
        for _ in range(num_tokens):
            types = (torch.arange(tokens.shape[1], device=self._device) >= prompt_tokens).long()
            kinds = {"token_type_ids": types.expand_as(tokens)} if prefix else {}
            logits = model(input_ids=tokens, use_cache=False, **kinds).logits[:, -1].float()
            rows.append(logits)
            tokens = torch.cat((tokens, logits.argmax(-1, keepdim=True)), dim=1)
        self._tokens = tokens
        self._logits = torch.stack(rows, dim=1)

    @torch.inference_mode()
    def compare(self, model: LanguageModel, dtype: torch.dtype) -> Agreement:
        """Let a deployed model go the same way: its prompts in one batch, then token by token."""
        blocks = self._num_prompts * self._blocks_per_prompt
        cache = allocate_kv_cache(model.kv_cache_spec, blocks, _BLOCK_SIZE, dtype, self._device)
        start, rows = 0, []
        for end in range(self._prompt_tokens, self._prompt_tokens + self._num_tokens):
            metadata, positions = self._batch(start, end)
            embeds = model.embed(self._tokens[:, start:end].flatten())
            hidden = model.forward(embeds, positions, cache, metadata)
            last = hidden.view(self._num_prompts, end - start, -1)[:, -1]
            rows.append(model.compute_logits(last).float())
            start = end
        return Agreement.of(torch.stack(rows, dim=1), self._logits)

    @property
    def _blocks_per_prompt(self) -> int:
        return -(-(self._prompt_tokens + self._num_tokens) // _BLOCK_SIZE)

    def _batch(self, start: int, end: int) -> tuple[AttentionMetadata, Tensor]:
        """The step that computes tokens [start, end) of every prompt, and their positions."""
        count = self._num_prompts
        table = torch.arange(count * self._blocks_per_prompt, device=self._device)
        positions = torch.arange(start, end, device=self._device).repeat(count, 1)
        first_slots = torch.arange(count, device=self._device)[:, None]
        slots = positions + first_slots * self._blocks_per_prompt * _BLOCK_SIZE
        length = end - start
        metadata = AttentionMetadata(
            query_start_loc=torch.arange(count + 1, device=self._device) * length,
            seq_lens=torch.full((count,), end, device=self._device),
            block_table=table.view(count, -1),
            slot_mapping=slots.flatten(),
            query_lens=(length,) * count,
            context_lens=(end,) * count,
            bidirectional=self._seen(positions.flatten()) if self._prefix else None,
        )
        return metadata, positions.flatten()

    def _seen(self, positions: Tensor) -> Tensor:
        """See AttentionMetadata.bidirectional: the prompt, or for what follows itself alone."""
        prompt = positions.new_tensor((0, self._prompt_tokens))
        alone = torch.stack((positions, positions + 1), dim=1)
        return torch.where(positions[:, None] < self._prompt_tokens, prompt, alone)


def _token_ids(model: Any, count: int) -> list[int]:
    """Arbitrary ones, none of which stands for anything but text."""
    vocab_size: int = model.get_input_embeddings().weight.shape[0]
    special = set(_special_ids(model.config.to_dict()))
    ids = (i * 7919 % vocab_size for i in range(1, 2 * count + 2 + len(special)))
    return [token_id for token_id in ids if token_id not in special][:count]


def _special_ids(config: JsonDict) -> Iterator[int]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _special_ids(value)
        elif isinstance(value, int) and key.endswith(("_token_id", "_token_index")):
            yield value
