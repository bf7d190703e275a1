"""The lines of a batch's input file, read one at a time and checked all together."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .batch_line import BatchLine, InvalidLineError, read_line
from .batch_store import LineError

#: That are told of one file.
MAX_ERRORS = 100
#: What a line may have beside its body.
_AROUND_BODY = 2**16
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class LineRules:
    """What lines may ask for. urls: the endpoints. model: by its served name. max_body_bytes: of
    one request; max_requests: of one file, None for any number."""

    urls: Collection[str]
    model: str
    max_body_bytes: int
    max_requests: int | None = None


class Checked(NamedTuple):
    """Requests of a file, and why it can't be taken, up to MAX_ERRORS reasons."""

    total: int
    errors: tuple[LineError, ...]


def check_file(path: Path, rules: LineRules) -> Checked:
    """Read all of it. Raises OSError."""
    seen: dict[bytes, int] = {}
    errors: list[LineError] = []
    total = 0
    for number, data in _numbered(path, rules):
        total += 1
        try:
            line = _read(data, number, rules)
            # Of which there may be millions, of any length.
            key = hashlib.blake2b(line.custom_id.encode("utf-8", "surrogatepass"), digest_size=16)
            first = seen.setdefault(key.digest(), number)
            if first != number:
                message = f"custom_id is that of line {first}, too"
                raise InvalidLineError("duplicate_custom_id", message, number, "custom_id")
        except InvalidLineError as error:
            errors.append(error.told)
            if len(errors) == MAX_ERRORS:
                break
    if not total:
        errors.append(LineError("empty_file", "the file has no requests"))
    elif rules.max_requests is not None and total > rules.max_requests:
        message = f"the file has {total} requests, more than the {rules.max_requests} of a batch"
        errors.append(LineError("too_many_requests", message))
    return Checked(total, tuple(errors))


def lines_of(path: Path, rules: LineRules) -> Iterator[BatchLine]:
    """Those of a file that was found to be good. Raises OSError, and InvalidLineError if it was
    changed since."""
    for number, data in _numbered(path, rules):
        yield _read(data, number, rules)


def _read(data: bytes, number: int, rules: LineRules) -> BatchLine:
    if len(data) > rules.max_body_bytes + _AROUND_BODY:
        message = f"the line has more bytes than a request may, {rules.max_body_bytes}"
        raise InvalidLineError("line_too_large", message, number)
    return read_line(data, number, rules.urls, rules.model)


def _numbered(path: Path, rules: LineRules) -> Iterator[tuple[int, bytes]]:
    """Lines that hold anything, by their numbers; of one that is too large, the beginning."""
    most = rules.max_body_bytes + _AROUND_BODY + 1
    number = 0
    with open(path, "rb") as file:
        while line := file.readline(most):
            number += 1
            rest = line
            while not rest.endswith(b"\n") and (rest := file.readline(most)):
                pass
            if number == 1:
                line = line.removeprefix(_BOM)
            if line.strip():
                yield number, line
