"""Log-probabilities of an answer's tokens, in the form of OpenAI's chats and responses."""

from __future__ import annotations

from typing import Any

from ...core.prompts.token_bytes import TextSoFar, TokenBytes
from ...core.protocol.outputs import CompletionOutput


def answer_logprobs(
    tokens: TokenBytes, completion: CompletionOutput, first: int, text: TextSoFar
) -> list[dict[str, Any]]:
    """Of the tokens from a position on, up to which the text goes and which it is moved on from;
    none if they were not asked for."""
    if completion.logprobs is None:
        return []
    content = []
    new = zip(completion.token_ids[first:], completion.logprobs[first:], strict=True)
    for token_id, position in new:
        top = zip(position.top_ids, position.top_logprobs, strict=True)
        content.append(
            _entry(tokens, text, token_id, position.chosen)
            | {"top_logprobs": [_entry(tokens, text, *other) for other in top]}
        )
        tokens.append(text, token_id)
    if content and completion.ended_by_token:
        content[-1]["bytes"] = None
    return content


def _entry(tokens: TokenBytes, text: TextSoFar, token_id: int, logprob: float) -> dict[str, Any]:
    return {
        "token": tokens.name(token_id),
        "logprob": logprob,
        "bytes": tokens.bytes_in(text, token_id),
    }
