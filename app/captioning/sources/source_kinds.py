"""What kind of source a word on the command line is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from enum import Enum

from ....core.protocol.errors import RequestError
from ..picture import printable
from .file_types import file_type
from .formats import HEAD, PICTURE_ENDINGS, ending, picture_format
from .globs import is_glob
from .places import is_url
from .tables import TABLE_ENDINGS


class SourceKind(Enum):
    """SIDECAR: a caption that lies beside a picture which is a source too, as photos/* gives."""

    STDIN = "stdin"
    URL = "URL"
    FOLDER = "folder"
    GLOB = "glob"
    PICTURE = "picture"
    LIST = "list"
    TABLE = "table"
    TAR = "tar"
    ZIP = "zip"
    SIDECAR = "sidecar"


_CONTAINERS = {
    **dict.fromkeys((".txt", ".lst", ".list"), SourceKind.LIST),
    **dict.fromkeys(TABLE_ENDINGS, SourceKind.TABLE),
    **dict.fromkeys(
        (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz"), SourceKind.TAR
    ),
    ".zip": SourceKind.ZIP,
}
_SIDECAR_ENDINGS = frozenset((".txt", ".caption", ".json", ".xmp"))


def container_kind(name: str) -> SourceKind | None:
    """What a file with this name has pictures, or names of them, in."""
    lower = name.lower()
    return next((kind for end, kind in _CONTAINERS.items() if lower.endswith(end)), None)


def sidecar_stems(sources: Iterable[str]) -> frozenset[str]:
    """What the names of captions that lie beside these sources begin with."""
    pictures = [source for source in sources if ending(source) in PICTURE_ENDINGS]
    return frozenset(pictures).union(os.path.splitext(picture)[0] for picture in pictures)


def kind_of(source: str, stems: frozenset[str] = frozenset()) -> SourceKind:
    """By its name and, of a file, its first bytes; what exists is no pattern. stems: see
    sidecar_stems. Raises RequestError for what is no source, such as a file that doesn't exist."""
    if source == "-":
        return SourceKind.STDIN
    if is_url(source):
        return SourceKind.URL
    shown = printable(source)
    try:
        mode = os.stat(source).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        if is_glob(source) and not os.path.lexists(source):
            return SourceKind.GLOB
        raise RequestError(f"{shown or repr(source)}: there is no such file or folder") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"{shown}: it can't be read: {reason}") from error
    if stat.S_ISDIR(mode):
        return SourceKind.FOLDER
    if not stat.S_ISREG(mode):
        raise RequestError(
            f"{shown}: it is a {file_type(mode)}, not a file; a list is read from one by "
            f"`octavo caption - < {shown}`"
        )
    return _kind_of_file(source, stems)


def _kind_of_file(path: str, stems: frozenset[str]) -> SourceKind:
    end = ending(path)
    if end in _SIDECAR_ENDINGS and os.path.splitext(path)[0] in stems:
        return SourceKind.SIDECAR
    kind = container_kind(path)
    if (kind is None and end != ".json") or _is_picture(path):
        return SourceKind.PICTURE
    if kind is None:
        raise RequestError(
            f"{printable(path)}: a table in JSON has an object on each line, and ends in .jsonl; "
            "`jq -c '.[]'` makes that of an array"
        )
    return kind


def _is_picture(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return picture_format(file.read(HEAD), path) is not None
    except OSError as error:
        raise RequestError(f"{printable(path)}: it can't be read: {error.strerror}") from error
