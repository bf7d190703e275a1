"""What an answer took, as HTML."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from octavo.app.page.parts.timing_bar import timing_bar
from octavo.app.page.server.server_api import AnswerSoFar

TIMINGS: dict[str, Any] = {
    "queue_ms": 2.0,
    "images_ms": 8.0,
    "encode_ms": 30.0,
    "prefill_ms": 60.0,
    "decode_ms": 1100.0,
    "tokens_per_second": 41.26,
    "images": [{"source": "encoded"}, {"source": "redis"}, {"source": "redis"}],
}


def test_parts_are_as_long_as_they_took() -> None:
    bar = timing_bar(AnswerSoFar("", "stop", {}, TIMINGS))
    widths = [float(found) for found in re.findall(r"flex-grow:([\d.]+)", bar)]
    assert widths == pytest.approx([part / 1200 for part in (2, 8, 30, 60, 1100)], abs=1e-4)


def test_all_is_said_in_words_too() -> None:
    bar = timing_bar(
        AnswerSoFar("", "stop", {"prompt_tokens": 83, "completion_tokens": 11}, TIMINGS)
    )
    assert (
        'aria-label="It took 1.2 s: queue 2.0 ms, image decoding 8.0 ms, encoding 30 ms, '
        'prefill 60 ms, answer 1.1 s"'
    ) in bar
    for words in (
        "1 × cache miss",
        "2 × cache hit (redis)",
        "41.3 tokens/s",
        "83 tokens in, 11 out",
    ):
        assert f"<li>{words}</li>" in bar


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("encoded", "cache miss"),
        ("engine", "cache hit (engine)"),
        ("memory", "cache hit (memory)"),
        ("redis", "cache hit (redis)"),
        ("prefix", "cache hit (prefix cache)"),
        ("request", "features sent along"),
    ],
)
def test_each_source_is_named_and_one_picture_is_not_counted(source: str, words: str) -> None:
    bar = timing_bar(AnswerSoFar("", "stop", {}, {"images": [{"source": source}]}))
    assert f"<li>{words}</li>" in bar


def test_a_server_that_tells_nothing_has_no_bar() -> None:
    assert timing_bar(AnswerSoFar("text", "stop")) == ""


def test_what_is_told_may_be_anything() -> None:
    """Other servers are asked too, and what they say ends up in a page."""
    strange = {
        "queue_ms": "<b>",
        "images_ms": math.nan,
        "encode_ms": -1,
        "prefill_ms": None,
        "decode_ms": 0,
        "tokens_per_second": None,
        "images": [{"source": "<script>x</script>"}, 3, {}],
    }
    bar = timing_bar(AnswerSoFar("", "stop", {"prompt_tokens": []}, strange))
    assert "<script" not in bar
    assert "<b>" not in bar.replace("<b>0 ms</b>", "")
    assert "&lt;script&gt;" in bar
    assert timing_bar(AnswerSoFar("", "stop", {}, {"images": "redis"})) == ""
