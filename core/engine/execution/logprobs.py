"""Log-probabilities for those who ask, as the model gives them, before any setting applies."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...protocol.messages import TokenLogprobs


def describe_token(logits: Tensor, token_id: int, count: int) -> TokenLogprobs:
    """The token's place in logits [vocab_size], and the `count` likeliest; -1 is all."""
    logprobs = logits.log_softmax(dim=-1)
    top = logprobs.topk(len(logprobs) if count < 0 else min(count, len(logprobs)))
    chosen = logprobs[token_id]
    return TokenLogprobs(
        chosen=chosen.item(),
        rank=int((logprobs > chosen).sum().item()) + 1,
        top_ids=top.indices.tolist(),
        top_logprobs=top.values.tolist(),
    )


def describe_prompt(
    logits: Tensor, token_ids: Sequence[int], count: int
) -> list[TokenLogprobs | None]:
    """For each row of logits [n, vocab_size] the token that follows it in the prompt.

    None for a placeholder outside the vocabulary.
    """
    return [
        describe_token(row, token_id, count) if token_id < row.shape[-1] else None
        for row, token_id in zip(logits, token_ids, strict=True)
    ]
