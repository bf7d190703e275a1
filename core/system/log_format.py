"""Log format of every process, safe for any text in it."""

from __future__ import annotations

import logging
import re

#: Controls, line and paragraph separators, marks that turn the direction of writing, and halves
#: of characters: what could end a line, or show another text than is there.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class LineFormatter(logging.Formatter):
    r"""Escapes what is no part of a line, as \x1b or \u2028. Further lines of a record, such as a
    traceback's, are indented, so that none of them can pose as another record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's lines."""
        return "\n  ".join(map(_escaped, super().format(record).split("\n")))


def set_up_logging() -> None:
    """To stderr, from INFO on; of HTTP clients, which log every call, warnings alone."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _escaped(text: str) -> str:
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
