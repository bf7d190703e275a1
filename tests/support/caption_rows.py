"""Rows as a captioning job writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from octavo.app.captioning.outputs.row import Row
from octavo.app.captioning.outputs.sink import START, Position, Sink

PNG = b"\x89PNG\r\n\x1a\n and more"
JPEG = b"\xff\xd8\xff and more"

ODD_TEXTS = (
    "plain",
    'a "quoted", comma; \ttab',
    "two\nlines\r\nand\rmore",
    "Zürich 東京 🐙 \u2028 \u2029 \x85 end",
    "<b>&amp;</b> ]]> \x07 bell",
    " spaces ",
    "",
    "=1+1",
    "-",
    "caf\\xe9.png",
)


def row(name: str, text: str = "a cat", **facts: Any) -> Row:
    """With the prompt "caption"."""
    return Row(name, name, {"caption": text}, facts=facts, content=PNG)


def failed(name: str, error: str = "it is broken") -> Row:
    return Row(name, name, {}, error=error)


def rows_of(rows: Sequence[Row]) -> Callable[[], Iterator[Row]]:
    """As a journal gives them."""
    return lambda: iter(rows)


def write_all(sink: Sink, rows: Sequence[Row], header: dict[str, Any] | None = None) -> Position:
    """A whole job."""
    sink.check()
    position = sink.begin(START, header)
    if rows:
        position = sink.write(rows)
    sink.finish(rows_of(rows))
    return position
