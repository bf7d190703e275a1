"""What every output does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from .row import Row

#: Where an output has got to: the number of its file, and bytes in that.
Position = tuple[int, int]
START: Position = (0, 0)


class Sink(Protocol):
    """An output. The journal keeps its rows and the position up to which they have been written;
    so a run that was killed goes on where that was, and what was written beyond is cut off.

    Methods raise OSError, with the file's name, if it can't be written, as on a full disk. Rows
    come in the order of the journal; those of pictures that failed too, unless the job puts them
    elsewhere.
    """

    #: Whether rows must have `content`.
    takes_content: bool

    def check(self) -> None:
        """Raises RequestError if it could not be written, or would overwrite what no journal
        knows of. Before anything is loaded; changes nothing."""

    def begin(self, position: Position, header: dict[str, Any] | None) -> Position:
        """Open it, going on at a position: what is beyond is cut off. At START whatever is there
        is replaced, and the header, if any, is written; returns where the first row goes.
        Raises RequestError if less is there than the position says: somebody changed it.
        header: always given, as an output that is written as a whole writes it each time."""

    def write(self, rows: Sequence[Row]) -> Position:
        """Returns the position after them, once they are on the disk (fsync)."""

    def finish(self, rows: Callable[[], Iterator[Row]]) -> None:
        """At the end of a run, complete or not: close it. rows: gives all rows that there are, for
        an output that can only be written as a whole; others don't call it."""

    def obstacle(self, path: str | None) -> str | None:
        """Why a picture's row could not be written here, such as a file that is in its way; None
        if it could. Asked before the picture is captioned, so that no work is lost, but after it
        has been read and proven to be one: what is asked for has a claim to its file from then on.
        Several threads may ask."""

    def names(self) -> Iterable[str]:
        """Names of pictures in an output that no journal knows of, for --only-missing. Raises
        RequestError if they can't be told."""

    def end(self) -> Position:
        """Where an output that no journal knows of ends, which `begin` then takes to add to it,
        for --only-missing. Raises RequestError if nothing can be added to it."""

    def has(self, path: str | None) -> bool:
        """Whether a picture's row is there, though no journal knows of it, in an output that has a
        file for each picture; it is False for others, which tell `names`. For --only-missing."""
