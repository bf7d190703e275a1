"""Which column of a table has the pictures, and what the others say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from ....core.protocol.errors import RequestError

#: Names of columns that have pictures, in lower case.
NAMES = (
    "image",
    "images",
    "img",
    "picture",
    "photo",
    "file_name",
    "filename",
    "file",
    "filepath",
    "file_path",
    "path",
    "image_file",
    "image_name",
    "image_path",
    "img_path",
    "url",
    "image_url",
    "img_url",
)


def picture_column(
    names: Sequence[str], asked: str | None, table: str, sure: Sequence[str] = ()
) -> str:
    """The one that was asked for, or the only one with a name that says so. sure: columns whose
    type says so. Raises RequestError."""
    shown = ", ".join(names) or "none"
    if asked is not None:
        if asked in names:
            return asked
        raise RequestError(f"{table}: there is no column {asked!r}; its columns are {shown}")
    named = [name for name in names if name.lower() in NAMES]
    both = [name for name in named if name in sure]
    guesses = both or [*named, *sure]
    if len(guesses) == 1:
        return guesses[0]
    if guesses:
        raise RequestError(
            f"{table}: {' and '.join(guesses)} may each have the pictures; say which by --column"
        )
    raise RequestError(
        f"{table}: which column has the pictures' paths, URLs or bytes? Say it by --column; its "
        f"columns are {shown}"
    )


def plain(value: Any) -> Any:
    """As JSON has it; without bytes."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # lone surrogates
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items() if not isinstance(v, bytes)}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(v) for v in value if not isinstance(v, bytes)]
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, timedelta | Decimal):
        return str(value)
    return str(value)
