"""Files that were listed already, in bounded memory."""

from __future__ import annotations

import os

from .hidden import is_hidden_name

#: Files by name that are remembered, 64 bytes each. Those of folders that were listed as a whole
#: need none.
_MAX_FILES = 2**20


class ListedOnce:
    """Knows a file by its real folder and its name in there; hard links are files of their own.

    Folders that were listed are remembered, and files that were named one by one, or reached by
    links, up to a number: of those beyond it, it can't be told.
    """

    def __init__(self) -> None:
        self._folders: set[tuple[int, int]] = set()
        self._files: set[int] = set()
        self._last: tuple[str, tuple[int, int]] = ("", (0, 0))

    def add_folder(self, path: str) -> bool:
        """Whether it is new: all that is in it will be listed. Raises OSError."""
        status = os.stat(path)
        identity = status.st_dev, status.st_ino
        is_new = identity not in self._folders
        self._folders.add(identity)
        return is_new

    def add_file(self, path: str) -> bool:
        """Whether a file that was named, or is a link, is new. What can't be looked at is."""
        try:
            real = os.path.realpath(path) if os.path.islink(path) else path
            folder, name = os.path.split(real)
            identity = self._folder(folder)
        except (OSError, ValueError):
            return True
        if identity in self._folders and not is_hidden_name(name):
            return False
        return self._add(hash((identity, name)))

    def add_url(self, url: str) -> bool:
        """Whether it is new."""
        return self._add(hash(url))

    def was_named(self, folder: str, name: str) -> bool:
        """Whether a regular file of a folder that is being listed was added before."""
        return bool(self._files) and hash((self._folder(folder), name)) in self._files

    def _add(self, key: int) -> bool:
        if key in self._files:
            return False
        if len(self._files) < _MAX_FILES:
            self._files.add(key)
        return True

    def _folder(self, path: str) -> tuple[int, int]:
        if self._last[0] != path or not path:
            status = os.stat(path or ".")
            self._last = path, (status.st_dev, status.st_ino)
        return self._last[1]
