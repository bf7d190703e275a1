"""Log-probabilities of a prompt's tokens, in vLLM's form."""

from __future__ import annotations

from typing import Any

from ...core.prompts.token_bytes import TokenBytes
from ...core.protocol.messages import TokenLogprobs
from ...core.protocol.outputs import RequestOutput


def prompt_logprobs(output: RequestOutput, tokens: TokenBytes) -> dict[str, Any]:
    """The field of an answer that has them; none if they were not asked for."""
    if output.prompt_logprobs is None:
        return {}
    entries = zip(output.prompt_token_ids, output.prompt_logprobs, strict=True)
    return {"prompt_logprobs": [entry and _entry(tokens, i, entry) for i, entry in entries]}


def _entry(tokens: TokenBytes, token_id: int, entry: TokenLogprobs) -> dict[str, Any]:
    """Token id to log-probability, rank and text; the token itself first."""
    described = {token_id: (entry.chosen, entry.rank)}
    likeliest = zip(entry.top_ids, entry.top_logprobs, strict=True)
    for rank, (other_id, logprob) in enumerate(likeliest, start=1):
        described.setdefault(other_id, (logprob, rank))
    return {
        str(key): {"logprob": logprob, "rank": rank, "decoded_token": tokens.name(key)}
        for key, (logprob, rank) in described.items()
    }
