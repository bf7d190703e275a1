"""Presence, frequency and repetition penalties, with vLLM's definitions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...protocol.sampling_params import SamplingParams


class TokenHistory:
    """What a request has seen. counts: [vocab_size] times generated; seen: in the prompt or so."""

    def __init__(
        self,
        prompt_token_ids: Sequence[int],
        output_token_ids: Sequence[int],
        vocab_size: int,
        device: torch.device,
    ) -> None:
        self.counts = torch.zeros(vocab_size, device=device)
        self.seen = torch.zeros(vocab_size, dtype=torch.bool, device=device)
        # An image's placeholder may lie outside the vocabulary.
        self.seen[[t for t in prompt_token_ids if t < vocab_size]] = True
        for token_id in output_token_ids:
            self.add(token_id)

    def add(self, token_id: int) -> None:
        """A token was generated."""
        self.counts[token_id] += 1
        self.seen[token_id] = True


def apply_penalties(
    logits: Tensor, params: Sequence[SamplingParams], histories: Sequence[TokenHistory]
) -> Tensor:
    """Penalised copies of logits [n, vocab_size], each row by its request's settings."""

    def column(name: str) -> Tensor:
        values = [getattr(p, name) for p in params]
        return torch.tensor(values, dtype=torch.float32, device=logits.device)[:, None]

    counts = torch.stack([history.counts for history in histories])
    seen = torch.stack([history.seen for history in histories])
    repetition = column("repetition_penalty")
    scaled = torch.where(logits > 0, logits / repetition, logits * repetition)
    penalised = torch.where(seen, scaled, logits)
    penalised -= column("frequency_penalty") * counts
    penalised -= column("presence_penalty") * (counts > 0)
    return penalised
