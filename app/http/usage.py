"""What answers took of the model's tokens."""

from __future__ import annotations

from typing import Any

from ...core.protocol.outputs import RequestOutput


def usage(*outputs: RequestOutput) -> dict[str, Any]:
    """Tokens in and out, of all prompts of a request."""
    prompt = sum(len(output.prompt_token_ids) for output in outputs)
    generated = sum(len(answer.token_ids) for output in outputs for answer in output.outputs)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {
            "cached_tokens": sum(output.num_cached_tokens for output in outputs),
            "image_tokens": sum(output.num_image_tokens for output in outputs),
        },
    }
