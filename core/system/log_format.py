"""Log formats of every process, safe for any text in them."""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime

from .log_context import key_name, request_ids

#: Of a line: request is empty, or the ids of the requests that it is about and the name of the API
#: key that they came with.
TEXT = "%(asctime)s %(levelname)s %(name)s%(request)s: %(message)s"

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
        words = [*request_ids(), *([f"key={key_name()}"] if key_name() else [])]
        record.request = f" [{' '.join(words)}]" if words else ""
        return "\n  ".join(map(_escaped, super().format(record).split("\n")))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """See `_time_of`."""
        return _time_of(record)


class JsonFormatter(logging.Formatter):
    """An object on one line: time, level, logger, process (its id), message; request_id, or
    request_ids if it is about several; key, the name of their API key; exception, with the
    traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, in ASCII."""
        fields: dict[str, object] = {
            "time": _time_of(record),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        ids = request_ids()
        if ids:
            fields |= {"request_id": ids[0]} if len(ids) == 1 else {"request_ids": ids}
        if key_name():
            fields["key"] = key_name()
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return json.dumps(fields)


def _time_of(record: logging.LogRecord) -> str:
    """Local time to the millisecond with its distance from UTC, as ISO 8601 has it."""
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


def _escaped(text: str) -> str:
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
