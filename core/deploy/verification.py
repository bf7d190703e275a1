"""A few tokens of the model as it was loaded, to hold the deployed one against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...kernels.ops import AttentionMetadata
from ..engine.config import ConfigError
from ..engine.kv_memory import allocate_kv_cache
from ..interfaces import LanguageModel

_NUM_PROMPTS = 2
_PROMPT_TOKENS = 12
_BLOCK_SIZE = 4
#: How far logits may be from the original ones, in units of the latter's standard deviation.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.1}


@dataclass(frozen=True)
class Agreement:
    """How well the deployed model agrees with the original one.

    same_tokens, num_tokens: greedy choices that are equal, of how many.
    distance: root mean square of the logits' differences over the logits' standard deviation.
    """

    same_tokens: int
    num_tokens: int
    distance: float

    def describe(self) -> str:
        """In words, for the operator."""
        return (
            f"{self.same_tokens} of {self.num_tokens} greedy tokens are the same; logits differ by "
            f"{self.distance:.1e} of their spread"
        )


class Reference:
    """What a transformers model answers to prompts of arbitrary tokens, greedily.

    prefix: the prompts see themselves; transformers is told by token types.
    """

    @torch.inference_mode()
    def __init__(self, model: Any, num_tokens: int, prefix: bool = False) -> None:
        self._device = model.device
        self._prefix = prefix
        self._num_tokens = num_tokens
        vocab_size = model.get_input_embeddings().weight.shape[0]
        prompts = torch.arange(1, _NUM_PROMPTS * _PROMPT_TOKENS + 1) * 7919 % vocab_size
        tokens = prompts.view(_NUM_PROMPTS, _PROMPT_TOKENS).to(self._device)
        rows = []
        for _ in range(num_tokens):
            types = (torch.arange(tokens.shape[1], device=self._device) >= _PROMPT_TOKENS).long()
            kinds = {"token_type_ids": types.expand_as(tokens)} if prefix else {}
            logits = model(input_ids=tokens, use_cache=False, **kinds).logits[:, -1].float()
            rows.append(logits)
            tokens = torch.cat((tokens, logits.argmax(-1, keepdim=True)), dim=1)
        self._tokens = tokens
        self._logits = torch.stack(rows, dim=1)

    @torch.inference_mode()
    def compare(self, model: LanguageModel, dtype: torch.dtype) -> Agreement:
        """Let a deployed model go the same way: its prompts in one batch, then token by token."""
        blocks = _NUM_PROMPTS * self._blocks_per_prompt
        cache = allocate_kv_cache(model.kv_cache_spec, blocks, _BLOCK_SIZE, dtype, self._device)
        start, rows = 0, []
        for end in range(_PROMPT_TOKENS, _PROMPT_TOKENS + self._num_tokens):
            metadata, positions = self._batch(start, end)
            embeds = model.embed(self._tokens[:, start:end].flatten())
            hidden = model.forward(embeds, positions, cache, metadata)
            last = hidden.view(_NUM_PROMPTS, end - start, -1)[:, -1]
            rows.append(model.compute_logits(last).float())
            start = end
        return _agreement(torch.stack(rows, dim=1), self._logits)

    @property
    def _blocks_per_prompt(self) -> int:
        return -(-(_PROMPT_TOKENS + self._num_tokens) // _BLOCK_SIZE)

    def _batch(self, start: int, end: int) -> tuple[AttentionMetadata, Tensor]:
        """The step that computes tokens [start, end) of every prompt, and their positions."""
        table = torch.arange(_NUM_PROMPTS * self._blocks_per_prompt, device=self._device)
        positions = torch.arange(start, end, device=self._device).repeat(_NUM_PROMPTS, 1)
        first_slots = torch.arange(_NUM_PROMPTS, device=self._device)[:, None]
        slots = positions + first_slots * self._blocks_per_prompt * _BLOCK_SIZE
        length = end - start
        metadata = AttentionMetadata(
            query_start_loc=torch.arange(_NUM_PROMPTS + 1, device=self._device) * length,
            seq_lens=torch.full((_NUM_PROMPTS,), end, device=self._device),
            block_table=table.view(_NUM_PROMPTS, -1),
            slot_mapping=slots.flatten(),
            query_lens=(length,) * _NUM_PROMPTS,
            context_lens=(end,) * _NUM_PROMPTS,
            bidirectional=self._seen(positions.flatten()) if self._prefix else None,
        )
        return metadata, positions.flatten()

    def _seen(self, positions: Tensor) -> Tensor:
        """See AttentionMetadata.bidirectional: the prompt, or for what follows itself alone."""
        prompt = positions.new_tensor((0, _PROMPT_TOKENS))
        alone = torch.stack((positions, positions + 1), dim=1)
        return torch.where(positions[:, None] < _PROMPT_TOKENS, prompt, alone)


def _agreement(logits: Tensor, expected: Tensor) -> Agreement:
    same = logits.argmax(-1) == expected.argmax(-1)
    distance = (logits - expected).square().mean().sqrt() / expected.std()
    return Agreement(int(same.sum()), same.numel(), float(distance))


def check_agreement(agreement: Agreement, dtype: torch.dtype, name: str) -> None:
    """Raises ConfigError if the deployed model is not the original one, within rounding."""
    if not agreement.distance <= _TOLERANCE[dtype]:
        raise ConfigError(
            f"{name}: deployed automatically it answers other than in transformers "
            f"({agreement.describe()}), so that it is not served"
        )
