"""What an answer took, as a small bar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ..server.server_api import AnswerSoFar

#: As they follow each other: the key, what it is called, its class.
_PARTS = (
    ("queue_ms", "queue", "queue"),
    ("images_ms", "image decoding", "images"),
    ("encode_ms", "encoding", "encode"),
    ("prefill_ms", "prefill", "prefill"),
    ("decode_ms", "answer", "decode"),
)
#: Where features may come from, beside the encoder stores, which have names of their own.
_SOURCES = {
    "encoded": "cache miss",
    "engine": "cache hit (engine)",
    "prefix": "cache hit (prefix cache)",
    "request": "features sent along",
}


def timing_bar(answer: AnswerSoFar) -> str:
    """HTML; "" if the server told nothing."""
    times = [(label, kind, _number(answer.timings.get(key))) for key, label, kind in _PARTS]
    known = [(label, kind, ms) for label, kind, ms in times if ms is not None]
    facts = list(_facts(answer))
    if not known and not facts:
        return ""
    total = sum(ms for _, _, ms in known)
    said = ", ".join(f"{label} {_duration(ms)}" for label, _, ms in known)
    bar = legend = ""
    if known:
        strip = "".join(
            f'<span class="octavo-part octavo-{kind}" style="flex-grow:{ms / total:.4f}"></span>'
            for _, kind, ms in known
            if total and ms
        )
        spoken = escape(f"It took {_duration(total)}: {said}")
        bar = f'<div class="octavo-strip" role="img" aria-label="{spoken}">{strip}</div>'
        # The strip's label says the same.
        legend = "".join(
            f'<li aria-hidden="true"><i class="octavo-{kind}"></i>{label} '
            f"<b>{_duration(ms)}</b></li>"
            for label, kind, ms in known
        )
    legend += "".join(f"<li>{escape(fact)}</li>" for fact in facts)
    return f'<div class="octavo-timings">{bar}<ul>{legend}</ul></div>'


def _facts(answer: AnswerSoFar) -> Iterator[str]:
    yield from _sources(answer.timings.get("images"))
    speed = _number(answer.timings.get("tokens_per_second"))
    if speed is not None:
        yield f"{speed:.3g} tokens/s" if speed < 1000 else f"{speed:.0f} tokens/s"
    read = _number(answer.usage.get("prompt_tokens"))
    written = _number(answer.usage.get("completion_tokens"))
    if read is not None and written is not None:
        yield f"{read:.0f} tokens in, {written:.0f} out"


def _sources(images: Any) -> Iterator[str]:
    """Where the pictures' features came from; how many, if they differ or are several."""
    if not isinstance(images, Sequence) or isinstance(images, str):
        return
    known = [image.get("source") for image in images if isinstance(image, Mapping)]
    counts = Counter(_SOURCES.get(str(name), f"cache hit ({name})") for name in known if name)
    for words, count in counts.items():
        yield words if len(known) == 1 else f"{count} × {words}"


def _number(value: Any) -> float | None:
    """None for what is no time, count or speed."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < float("inf") else None


def _duration(ms: float) -> str:
    if ms >= 10_000:
        return f"{ms / 1000:.0f} s"
    if ms >= 1000:
        return f"{ms / 1000:.1f} s"
    return f"{ms:.0f} ms" if ms >= 10 or ms == 0 else f"{ms:.1f} ms"
