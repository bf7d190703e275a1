"""How well a deployed model agrees with the one that transformers loaded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..protocol.config import ConfigError

#: How far results may be from the original ones, in units of the latter's standard deviation.
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

    @classmethod
    def of(cls, logits: Tensor, expected: Tensor) -> Agreement:
        """That of logits [..., vocab_size]."""
        same = logits.argmax(-1) == expected.argmax(-1)
        return cls(int(same.sum()), same.numel(), distance(logits, expected))

    def describe(self) -> str:
        """In words, for the operator."""
        return (
            f"{self.same_tokens} of {self.num_tokens} greedy tokens are the same; logits differ by "
            f"{self.distance:.1e} of their spread"
        )


def distance(values: Tensor, expected: Tensor) -> float:
    """Root mean square of the differences over the standard deviation of what is expected."""
    return float((values - expected).square().mean().sqrt() / expected.std())


def require_agreement(agreement: Agreement, dtype: torch.dtype, name: str, subject: str) -> None:
    """Raises ConfigError if the deployed model is not the original one, within rounding.
    subject: what was asked."""
    if not within_rounding(agreement.distance, dtype):
        raise ConfigError(
            f"{name}: deployed automatically it answers other than in transformers "
            f"({subject}: {agreement.describe()}), so that it is not served"
        )


def within_rounding(distance: float, dtype: torch.dtype) -> bool:
    """Whether results are as far apart as rounding may bring them. NaN is not."""
    return distance <= _TOLERANCE[dtype]
