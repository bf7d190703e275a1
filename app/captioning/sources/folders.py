"""What a folder has: a million names in bounded memory, and nothing that blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from ..picture import Skip
from .file_types import file_type
from .hidden import is_hidden_name
from .natural_order import SortedNames

#: Whether a name is wanted, and whether it is a folder's.
Wanted = Callable[[str, bool], bool]


class Listing:
    """One folder's regular files and folders, those that links lead to included. `scan` first."""

    def __init__(self, folder: str) -> None:
        self.files = SortedNames()
        self.folders = SortedNames()
        self.has_links = False
        #: Names that make a folder a data set.
        self.markers: set[str] = set()
        self._folder = folder

    def scan(
        self, markers: frozenset[str] = frozenset(), wanted: Wanted | None = None
    ) -> Iterator[Skip]:
        """Look at it; gives what is in it but isn't listed, and "unreadable folder". markers: names
        to note. wanted: without it, all that isn't hidden."""
        try:
            with os.scandir(self._folder or ".") as entries:
                for entry in entries:
                    if (kind := self._add(entry, wanted)) is not None:
                        yield Skip(kind, os.path.join(self._folder, entry.name))
                    elif entry.name in markers:
                        self.markers.add(entry.name)
        except OSError:
            yield Skip("unreadable folder", self._folder)

    def _add(self, entry: os.DirEntry[str], wanted: Wanted | None) -> str | None:
        """Why it is skipped, if it is."""
        name = entry.name
        if wanted is None and is_hidden_name(name):
            return "hidden"
        kind = _type_of(entry)
        if wanted is not None and not wanted(name, kind == "folder"):
            return None
        if kind == "folder":
            self.folders.add(name)
        elif kind == "file":
            self.files.add(name)
        else:
            return kind
        self.has_links |= entry.is_symlink()
        return None


def _type_of(entry: os.DirEntry[str]) -> str:
    """ "file", "folder" or a Skip's kind; of a link, what it leads to."""
    if entry.is_file(follow_symlinks=False):
        return "file"
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    try:
        mode = entry.stat().st_mode
    except PermissionError:
        return "file"  # reading it will tell
    except OSError:
        return "broken link"
    return "file" if stat.S_ISREG(mode) else file_type(mode)
