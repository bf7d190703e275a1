"""A visit's pictures and what has become of them. Plain data, which one visitor has at a time."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from ...captioning.picture import Location

MAX_PICTURES = 500


class State(Enum):
    """Of a picture. FAILED: it may go well later. REFUSED: by the server, for this question.
    UNREADABLE: it is no picture, whatever is asked."""

    WAITING = auto()
    ASKED = auto()
    CAPTIONED = auto()
    FAILED = auto()
    REFUSED = auto()
    UNREADABLE = auto()


_ERRORS = (State.FAILED, State.REFUSED, State.UNREADABLE)


@dataclass(eq=False, slots=True)
class Entry:
    """name: for people, printable. path: within its archive; the name of a file of its own.
    thumbnail: a data: URL; "" if there can't be one; None before it was tried.
    text: the caption, or why there is none. is_cut_off: after the most tokens."""

    name: str
    path: str
    at: Location
    num_bytes: int
    state: State = State.WAITING
    text: str = ""
    is_cut_off: bool = False
    thumbnail: str | None = None

    @property
    def caption(self) -> str | None:
        """If there is one."""
        return self.text if self.state is State.CAPTIONED else None

    @property
    def error(self) -> str | None:
        """Why there is no caption, if it is known."""
        return self.text if self.state in _ERRORS else None

    def become(self, state: State, text: str = "", is_cut_off: bool = False) -> None:
        """Another state."""
        self.state, self.text, self.is_cut_off = state, text, is_cut_off


@dataclass(eq=False)
class Album:
    """notices: sentences about what was left out. question: that the captions answer. downloads:
    the folder of files to take home, if there are any."""

    entries: list[Entry] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    question: Hashable = None
    downloads: str | None = None

    def add(self, entries: Iterable[Entry]) -> None:
        """What is there already is passed over, and so is what is too many, with a notice. A name
        that another picture has gets a number."""
        places = {entry.at for entry in self.entries}
        names = {entry.name for entry in self.entries}
        num_left_out = 0
        for entry in entries:
            if entry.at in places and entry.state is not State.UNREADABLE:
                continue
            if len(self.entries) == MAX_PICTURES:
                num_left_out += 1
                continue
            entry.name = _unlike(entry.name, names)
            names.add(entry.name)
            places.add(entry.at)
            self.entries.append(entry)
        if num_left_out:
            self.notices.append(
                f"{num_left_out} pictures were left out: the page takes {MAX_PICTURES} at a time; "
                "`octavo caption` takes any number."
            )

    def clear(self) -> None:
        """All pictures go."""
        self.entries.clear()
        self.notices.clear()
        self.question = None

    def begin(self, question: Hashable) -> None:
        """What lacks its caption waits for it: all pictures, if another question was answered, or
        if nothing is missing."""
        anew = question != self.question or not self.num_missing
        self.question = question
        for entry in self.entries:
            if entry.state is State.FAILED or (anew and entry.state is not State.UNREADABLE):
                entry.become(State.WAITING)

    def take(self) -> Entry | None:
        """The next that waits; it is asked about from now on."""
        entry = next((entry for entry in self.entries if entry.state is State.WAITING), None)
        if entry is not None:
            entry.become(State.ASKED)
        return entry

    def count(self, *states: State) -> int:
        """Pictures in these states."""
        return sum(entry.state in states for entry in self.entries)

    @property
    def num_missing(self) -> int:
        """Pictures that would be asked about, if the same question is asked again."""
        return self.count(State.WAITING, State.ASKED, State.FAILED)

    @property
    def num_failed(self) -> int:
        """Pictures with an error."""
        return self.count(*_ERRORS)


def _unlike(name: str, names: set[str]) -> str:
    """A number goes before its ending."""
    stem, ending = os.path.splitext(name)
    number = 1
    while name in names:
        number += 1
        name = f"{stem} ({number}){ending}"
    return name
