"""What an answer took, as `include_timings` asks for it; docs/api.md says what each part means."""

from __future__ import annotations

from typing import Any

from ...core.protocol.outputs import RequestOutput


def timings(output: RequestOutput) -> dict[str, Any]:
    """Of a request that has ended. The stages follow each other, and none has a part of another."""
    took = output.metrics
    decode = took.finished - took.first_token
    following = sum(len(answer.token_ids) - 1 for answer in output.outputs)
    return {
        "queue_ms": _milliseconds(took.first_scheduled - took.submitted),
        "images_ms": _milliseconds(took.images),
        "encode_ms": _milliseconds(took.encode),
        "prefill_ms": _milliseconds(took.first_token - took.first_scheduled - took.encode),
        "decode_ms": _milliseconds(decode),
        "tokens_per_second": round(following / decode, 2) if following and decode else None,
        "images": [{"source": source} for source in output.image_sources],
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
