"""How well models foretell a text, and how far their distributions are from the first one's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from .text import Windows

#: Of which the distributions over the vocabulary are computed at once, in float64.
_ROWS = 32


class GivesLogits(Protocol):
    """See InProcessExecutor."""

    def text_logits(self, token_ids: Sequence[int]) -> Iterator[Tensor]:
        """Logits after each token, [rows, vocab_size] in float32, some rows at a time."""
        ...


@dataclass
class Score:
    """Sums over the positions scored, in nats. num_same: whose likeliest token is the base's."""

    num_positions: int = 0
    surprise: float = 0.0
    divergence: float = 0.0
    num_same: int = 0

    def add(self, logprobs: Tensor, base: Tensor, next_ids: Tensor) -> None:
        """Take in some positions. logprobs, base: [rows, vocab_size], float64; next_ids: [rows],
        the tokens that follow."""
        self.num_positions += len(next_ids)
        self.surprise -= logprobs.gather(1, next_ids[:, None]).sum().item()
        self.num_same += int((logprobs.argmax(1) == base.argmax(1)).sum())
        # Where the base gives no probability at all there is nothing to lose.
        terms = torch.where(base == -math.inf, 0.0, base.exp() * (base - logprobs))
        self.divergence += terms.sum().item()

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-likelihood."""
        return math.exp(self.surprise / self.num_positions)

    @property
    def kl_divergence(self) -> float:
        """Mean of KL(base || this) over the positions, in nats."""
        return self.divergence / self.num_positions

    @property
    def top1_agreement(self) -> float:
        """Share of the positions with the base's likeliest token."""
        return self.num_same / self.num_positions


@torch.inference_mode()
def score_text(models: Mapping[str, GivesLogits], windows: Windows) -> dict[str, Score]:
    """Scores by the models' names, the first of which is the base. Models go through the text side
    by side, so that no more than some hundred rows of logits are held of each."""
    scores = {name: Score() for name in models}
    # A bar where standard error is a terminal.
    for token_ids in tqdm(windows.token_ids, unit="window", leave=False, disable=None):
        parts = zip(*(model.text_logits(token_ids) for model in models.values()), strict=True)
        # Nothing follows the last token.
        at, wanted = 0, range(windows.context - 1, len(token_ids) - 1)
        for logits in parts:
            rows = range(max(at, wanted.start), min(at + len(logits[0]), wanted.stop))
            for first in rows[::_ROWS]:
                block = slice(first - at, min(first + _ROWS, rows.stop) - at)
                next_ids = torch.tensor(token_ids[block.start + at + 1 : block.stop + at + 1])
                _add(list(scores.values()), [part[block] for part in logits], next_ids)
            at += len(logits[0])
    return scores


def _add(scores: Sequence[Score], logits: Sequence[Tensor], next_ids: Tensor) -> None:
    base = logits[0].double().log_softmax(-1)
    next_ids = next_ids.to(base.device)
    for i, score in enumerate(scores):
        score.add(logits[i].double().log_softmax(-1) if i else base, base, next_ids)
