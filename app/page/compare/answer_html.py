"""An answer of the tab "Compare" as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..parts.picture_parts import unplaced
from ..parts.sentence import sentence
from ..parts.timing_bar import timing_bar
from .side_by_side import Column
from .word_differences import marked_differences

SIDES = ("Left", "Right")
CSS = """
.answer { min-height: 4.5rem; overflow-wrap: anywhere; }
.answer h3 { margin: 0 0 0.4rem; font-size: 1em; color: var(--body-text-color-subdued); }
.answer p { margin: 0; white-space: pre-wrap; }
.answer p + p { margin-top: 0.5rem; }
.answer mark { color: inherit; background: color-mix(in srgb, var(--primary-500) 22%, transparent);
  border-bottom: 2px solid var(--primary-500); border-radius: 2px; }
.answer .aside { color: var(--body-text-color-subdued); font-size: 0.875em; }
"""


def answers_html(columns: Sequence[Column]) -> list[str]:
    """What is between two whole answers is marked, once there is no more to come."""
    texts = [escape(column.answer.text) for column in columns]
    if are_whole(columns):
        texts = list(marked_differences(*(column.answer.text for column in columns)))
    return [_answer_html(*parts) for parts in zip(SIDES, columns, texts, strict=True)]


def are_whole(columns: Sequence[Column]) -> bool:
    """Whether two answers can be compared."""
    return all(column.ended and not column.error for column in columns)


def difference_sentence(columns: Sequence[Column]) -> str:
    """HTML: what there is to see, once there is no more to come."""
    if not are_whole(columns):
        return ""
    left, right = (column.answer.text for column in columns)
    if left == right:
        return _status("Both answers are the same, word for word.")
    return _status("What is only in one of the answers is marked.")


def _status(sentence: str) -> str:
    return f'<p role="status">{sentence}</p>'


def _answer_html(side: str, column: Column, text: str) -> str:
    parts = [f"<h3>{side}</h3>"]
    if text:
        parts.append(f"<p>{text}</p>")
    if column.error:
        fault = escape(sentence(unplaced(column.error)))
        parts.append(f'<p class="octavo-fault" role="alert">{fault}</p>')
    elif not column.ended and not text:
        parts.append('<p class="aside">…</p>')
    elif column.ended and not text:
        parts.append('<p class="aside">The answer is empty.</p>')
    if column.answer.finish_reason == "length":
        parts.append('<p class="aside">Cut off: it reached the most tokens.</p>')
    return f'<div class="answer">{"".join(parts)}</div>{timing_bar(column.answer)}'
