"""A JSON object a line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgspec

from ....core.protocol.errors import RequestError
from ..picture import printable
from .fields import FILE, choose_fields, record
from .output_options import OutputOptions
from .row import Row

#: Line breaks of Unicode, which some readers split at, within texts.
_LINE_BREAKS = {
    character.encode(): f"\\u{ord(character):04x}".encode()
    for character in ("\u0085", "\u2028", "\u2029")
}


class JsonLines:
    """Fields that a row hasn't are left out of its object."""

    def __init__(self, options: OutputOptions) -> None:
        self._fields = choose_fields(options)

    def check(self, path: str) -> None:
        """Nothing."""

    def start(self, path: str, header: dict[str, Any] | None) -> bytes:
        """The header, if any, is the first line."""
        return _line(header) if header is not None else b""

    def line(self, row: Row) -> bytes:
        """See LineFormat."""
        return _line(record(row, self._fields))

    def names(self, path: str) -> Iterator[str]:
        """A last line that was cut off, as a killed program leaves it, has none."""
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                value = _parse(line)
                if isinstance(value, dict) and isinstance(value.get(FILE), str):
                    yield value[FILE]
                elif value is None and not line.endswith(b"\n"):
                    return
                elif not _is_header(number, value) and line.strip():
                    raise RequestError(
                        f'{printable(path)}, line {number}: there is no object with a "{FILE}", so '
                        "that what is missing can't be told"
                    )

    def end(self, path: str) -> int:
        """Before a last line that was cut off; one that merely lacks its newline gets it."""
        with open(path, "r+b") as file:
            start = 0
            line = b""
            for line in file:
                start += len(line)
            if line.endswith(b"\n"):
                return start
            if _parse(line) is None:
                return start - len(line)
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
            return start + 1


def _line(value: dict[str, Any]) -> bytes:
    line = msgspec.json.encode(value)
    for character, escape in _LINE_BREAKS.items():
        line = line.replace(character, escape)
    return line + b"\n"


def _parse(line: bytes) -> Any:
    """None if it is no JSON."""
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None


def _is_header(number: int, value: Any) -> bool:
    return number == 1 and isinstance(value, dict) and "octavo" in value
