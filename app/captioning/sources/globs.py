"""Patterns such as photos/**/*.jpg, for shells that don't expand them."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from functools import partial

from ..picture import Skip
from .folders import Listing
from .hidden import is_hidden_name

_MAGIC = re.compile(r"[*?\[]")

#: Places in a pattern's parts that a path has got to.
_Places = frozenset[int]


def is_glob(source: str) -> bool:
    """Whether it has a character that is special in patterns."""
    return _MAGIC.search(source) is not None


class Glob:
    """A pattern. `**` is any number of folders; hidden names are matched only by parts that begin
    alike, as in shells. Folders that match are given too."""

    def __init__(self, pattern: str) -> None:
        parts = pattern.split("/")
        first = next(index for index, part in enumerate(parts) if is_glob(part))
        root = "/".join(parts[:first])
        self._root = root or ("/" if pattern.startswith("/") else "")
        self._parts = [part for part in parts[first:] if part]
        self._tests = [re.compile(fnmatch.translate(part)) for part in self._parts]

    def matches(self) -> Iterator[tuple[str, bool] | Skip]:
        """Paths, and whether each is a folder, in natural order; and what matches but can't be
        taken. A folder that matches isn't looked into."""
        if self._root and not os.path.isdir(self._root):
            return
        seen: set[tuple[int, int, _Places]] = set()
        stack = [iter([(self._root, self._closure({0}))])]
        while stack:
            if (step := next(stack[-1], None)) is None:
                stack.pop()
                continue
            folder, places = step
            listing = Listing(folder)
            if _is_new(folder, places, seen):
                yield from listing.scan(wanted=partial(self._is_wanted, places))
            for name in listing.files:
                yield os.path.join(folder, name), False
            descend = []
            for name in listing.folders:
                path, beyond = os.path.join(folder, name), self._advance(name, places)
                if self._end in beyond and "**" not in self._parts[-1:]:
                    yield path, True
                else:
                    descend.append((path, beyond))
            stack.append(iter(descend))

    @property
    def tail(self) -> str:
        """What the names of all matches end with."""
        return _MAGIC.split(self._parts[-1])[-1]

    @property
    def _end(self) -> int:
        return len(self._parts)

    def _is_wanted(self, places: _Places, name: str, is_folder: bool) -> bool:
        reached = self._advance(name, places)
        return bool(reached) if is_folder else self._end in reached

    def _advance(self, name: str, places: _Places) -> _Places:
        """Where one more name leads to; nowhere if it can't match."""
        reached = set()
        for place in places:
            if place == self._end:
                continue
            part = self._parts[place]
            if part == "**":
                if not is_hidden_name(name):
                    reached.add(place)
            elif self._tests[place].match(name) and (
                part[0] == name[0] or not is_hidden_name(name)
            ):
                reached.add(place + 1)
        return self._closure(reached)

    def _closure(self, places: set[int]) -> _Places:
        """`**` may be no folder at all."""
        todo, done = list(places), set(places)
        while todo:
            place = todo.pop()
            if place < self._end and self._parts[place] == "**" and place + 1 not in done:
                done.add(place + 1)
                todo.append(place + 1)
        return frozenset(done)


def _is_new(folder: str, places: _Places, seen: set[tuple[int, int, _Places]]) -> bool:
    """Whether a folder hasn't been looked into at these places, so that no loop of links is
    followed for ever."""
    try:
        status = os.stat(folder or ".")
    except OSError:
        return True  # listing it tells
    key = status.st_dev, status.st_ino, places
    is_new = key not in seen
    seen.add(key)
    return is_new
