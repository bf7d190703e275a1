"""What is in a zip archive that a stranger made, in bounded memory and without unpacking it."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections import Counter
from lzma import LZMAError

from ...captioning.picture import BrokenAt, MemberAt, NotAPictureError, PictureError, Skip
from ...captioning.sources.formats import HEAD, check_picture
from ...captioning.sources.zip_archives import pictures_of_zip
from .album import MAX_PICTURES, Entry
from .entries import entry_of, unreadable

#: Bytes of an archive's directory, of which a member has 46 and its name.
_LARGEST_DIRECTORY = 2**20
#: Of all pictures in an archive together, unpacked.
_MOST_BYTES = 4 * 2**30
#: What zipfile raises for members that are damaged or encrypted.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, ValueError, RuntimeError)


def pictures_in_zip(path: str, shown: str) -> tuple[list[Entry], list[str]]:
    """In natural order, and sentences about what was left out. shown: the archive's name. An
    archive that can't be read is an entry that says so."""
    try:
        with _SmallReads(path) as file, zipfile.ZipFile(file) as archive:
            return _list(archive, path, shown)
    except OSError as error:
        reason = f"it can't be read: {error.strerror or error}"
    except _UNREADABLE as error:
        reason = f"the zip archive can't be read: {error}"
    return [unreadable(shown, reason)], []


def _list(archive: zipfile.ZipFile, path: str, shown: str) -> tuple[list[Entry], list[str]]:
    entries: list[Entry] = []
    left_out: Counter[str] = Counter()
    num_bytes = 0
    for found in pictures_of_zip(path):
        if isinstance(found, Skip):
            left_out[found.kind] += 1
        elif isinstance(found.at, BrokenAt):
            entries.append(unreadable(shown, found.at.reason))
        elif isinstance(found.at, MemberAt):
            num_bytes += found.at.num_bytes
            if len(entries) == MAX_PICTURES or num_bytes > _MOST_BYTES:
                left_out["beyond what the page takes from an archive"] += 1
                continue
            try:
                entries.append(_entry(archive, found.at, shown))
            except NotAPictureError as error:
                left_out[error.kind] += 1
    return entries, _notices(left_out, shown, has_some=bool(entries))


def _entry(archive: zipfile.ZipFile, at: MemberAt, shown: str) -> Entry:
    """Raises NotAPictureError."""
    name = f"{shown}!{at.member}"
    try:
        with archive.open(at.member) as member:
            check_picture(member.read(HEAD), at.member, was_named=False)
    except PictureError as error:
        return unreadable(name, str(error))
    except (*_UNREADABLE, OSError):
        pass  # reading all of it will say what is wrong
    return entry_of(name, at.member, at, at.num_bytes)


def _notices(left_out: Counter[str], shown: str, has_some: bool) -> list[str]:
    if left_out:
        kinds = ", ".join(f"{number} {kind}" for kind, number in left_out.most_common())
        return [f"Left out of {shown}: {kinds}."]
    return [] if has_some else [f"There is no picture in {shown}."]


class _SmallReads(io.FileIO):
    """zipfile reads an archive's directory at once, and makes an object of each entry, whatever
    their number."""

    def read(self, size: int | None = -1) -> bytes:
        """Raises BadZipFile for more than a directory may have."""
        wanted = size if size is not None and size >= 0 else self._num_left()
        if wanted > _LARGEST_DIRECTORY:
            raise zipfile.BadZipFile("it has too many files; send it in parts")
        return super().read(wanted) or b""

    def _num_left(self) -> int:
        return os.fstat(self.fileno()).st_size - self.tell()
