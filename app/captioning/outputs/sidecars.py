"""Files beside each picture that hold its captions: .txt, .caption, .json and .xmp."""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import msgspec

from ....core.protocol.errors import RequestError
from ..picture import printable
from .fields import choose_fields, record
from .output_options import OutputOptions
from .picture_format import PICTURE_ENDINGS, is_picture_file
from .row import Row
from .safe_files import naming_file, replace_file, sync_folder
from .sink import START, Position
from .xmp import DESCRIPTION, SUBJECT, XmpError, properties_in, with_caption

TEXT_ENDINGS = (".txt", ".caption")
ENDINGS = (*TEXT_ENDINGS, ".json", ".xmp")
_DESCRIPTION_PROMPT = "caption"
_SUBJECT_PROMPT = "tags"
#: Claims to files that are kept. Pictures that share one mostly come close to each other, as they
#: are sorted; those further apart are found on the disk.
_MAX_CLAIMS = 10_000


@dataclass(frozen=True, slots=True)
class _Kind:
    """ending: of its files. prompt: whose text is in it, if it is one prompt's."""

    ending: str
    prompt: str | None

    def path(self, picture: str) -> str:
        """Of a picture's sidecar: kohya-ss and other trainers replace the picture's ending;
        darktable and digiKam keep it."""
        return (picture if self.ending == ".xmp" else os.path.splitext(picture)[0]) + self.ending


class Sidecars:
    """The job's journal knows what has been written: writing it again changes nothing. Pictures
    that failed get no file."""

    takes_content = False

    def __init__(self, options: OutputOptions) -> None:
        """Raises RequestError for endings and prompts that there aren't."""
        self._options = options
        self._kinds = tuple(_parse(text, options.prompts) for text in options.sidecars)
        endings = [kind.ending for kind in self._kinds]
        for ending in endings:
            if endings.count(ending) > 1:
                raise RequestError(f"--sidecar {ending} is there twice")
        self._fields = choose_fields(options)
        self._claims: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def check(self) -> None:
        """Nothing: `obstacle` looks at each picture's files."""

    def begin(self, position: Position, header: dict[str, Any] | None) -> Position:
        """Nothing: a sidecar has no place for a header."""
        return position

    def write(self, rows: Sequence[Row]) -> Position:
        """See Sink."""
        folders = set()
        for row in rows:
            # A picture that has been moved away since then needs none where it was.
            if row.error is None and row.path is not None and os.path.exists(row.path):
                for kind in self._kinds:
                    path = kind.path(row.path)
                    replace_file(path, self._content(kind, path, row))
                folders.add(os.path.dirname(row.path))
        for folder in folders:
            with naming_file(folder):
                sync_folder(folder)
        return START

    def finish(self, rows: Callable[[], Iterator[Row]]) -> None:
        """Nothing is open."""

    def obstacle(self, path: str | None) -> str | None:
        """See Sink."""
        if path is None:
            return (
                "it is no file of its own, so that no sidecar can be beside it; name a file by -o"
            )
        folder = os.path.dirname(path) or "."
        if not os.access(folder, os.W_OK | os.X_OK):
            return (
                f"its sidecar can't be written: change the permissions of {printable(folder)}, or "
                "name a file by -o"
            )
        for kind in self._kinds:
            try:
                reason = self._obstacle_of(kind, path)
            except OSError as error:
                reason = f"its sidecar can't be written: {error.strerror}"
            if reason is not None:
                return reason
        return None

    def names(self) -> Iterable[str]:
        """None: `has` tells."""
        return ()

    def end(self) -> Position:
        """See Sink."""
        return START

    def has(self, path: str | None) -> bool:
        """Whether all its sidecars are there."""
        return path is not None and all(self._is_there(kind, path) for kind in self._kinds)

    def _content(self, kind: _Kind, path: str, row: Row) -> bytes:
        if kind.ending == ".json":
            return msgspec.json.format(msgspec.json.encode(record(row, self._fields))) + b"\n"
        if kind.ending == ".xmp":
            return self._xmp(kind, path, row)
        assert kind.prompt is not None, "a text file has one"
        return f"{row.texts[kind.prompt]}\n".encode()

    def _xmp(self, kind: _Kind, path: str, row: Row) -> bytes:
        tags = row.texts.get(_SUBJECT_PROMPT, "").split(",")
        subjects = list(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
        description = row.texts[kind.prompt] if kind.prompt is not None else None
        try:
            return with_caption(_read(path), description, subjects)
        except XmpError as error:  # `obstacle` has seen another file
            raise OSError(errno.EINVAL, f"can't be added to: {error}", path) from error

    def _obstacle_of(self, kind: _Kind, picture: str) -> str | None:
        path = kind.path(picture)
        name = printable(os.path.basename(path))
        if path == picture:
            return f"its sidecar {name} would be the picture itself"
        other = None if kind.ending == ".xmp" else self._other_owner(picture)
        if other is not None:
            return f"{name} is the sidecar of {printable(os.path.basename(other))}; rename one"
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
            return f"{name}, where its sidecar would be, is no file; move it away"
        return self._obstacle_in(kind, picture, path, name)

    def _obstacle_in(self, kind: _Kind, picture: str, path: str, name: str) -> str | None:
        """In a file that is there already."""
        is_ours = self._options.is_ours(picture)
        if kind.ending == ".xmp":
            try:
                there = properties_in(_read(path) or b"") & self._properties(kind)
            except XmpError as error:
                return f"{name} can't be added to, as {error}; mend it or move it away"
            what = f"{name} has dc:{' and dc:'.join(sorted(there))} already" if there else None
        else:
            what = f"{name} is there already"
        if what is None or is_ours:
            return None
        if not self._options.overwrite:
            return (
                f"{what}: --only-missing skips pictures that have all their sidecars, --overwrite "
                "replaces what they have"
            )
        if kind.ending != ".xmp" and is_picture_file(path):
            return f"{name}, where its sidecar would be, is a picture, which isn't overwritten"
        return None

    def _other_owner(self, picture: str) -> str | None:
        """Another picture of the job with the same sidecars, such as a.jpg for a.png."""
        stem = os.path.splitext(picture)[0]
        with self._lock:
            owner = self._claims.setdefault(stem, picture)
            self._claims.move_to_end(stem)
            if len(self._claims) > _MAX_CLAIMS:
                self._claims.popitem(last=False)
        if owner != picture:
            return owner
        for ending in PICTURE_ENDINGS:
            for sibling in (stem + ending, stem + ending.upper()):
                is_other = sibling != picture and os.path.exists(sibling)
                if is_other and self._options.is_ours(sibling):
                    return sibling
        return None

    def _properties(self, kind: _Kind) -> set[str]:
        """Those that are written into XMP."""
        description = {DESCRIPTION} if kind.prompt is not None else set()
        return description | ({SUBJECT} if _SUBJECT_PROMPT in self._options.prompts else set())

    def _is_there(self, kind: _Kind, picture: str) -> bool:
        path = kind.path(picture)
        if kind.ending != ".xmp":
            return path != picture and os.path.exists(path)
        try:
            return properties_in(_read(path) or b"") >= self._properties(kind)
        except (XmpError, OSError):  # `obstacle` tells of it
            return False


def _parse(text: str, prompts: Sequence[str]) -> _Kind:
    """An ending, and whose text, as in ".txt=tags". Raises RequestError."""
    ending, _, prompt = text.partition("=")
    ending = "." + ending.removeprefix(".").lower()
    if ending not in ENDINGS:
        raise RequestError(
            f"--sidecar {text}: there are no such files; there are {', '.join(ENDINGS)}"
        )
    if ending == ".json":
        if prompt:
            raise RequestError(f"--sidecar {text}: .json has the fields that --fields names")
        return _Kind(ending, None)
    if prompt:
        if prompt not in prompts:
            raise RequestError(
                f"--sidecar {text}: there is no prompt {prompt!r}; there are {', '.join(prompts)}"
            )
        return _Kind(ending, prompt)
    return _Kind(ending, prompts[0] if ending in TEXT_ENDINGS else _described_by(prompts))


def _described_by(prompts: Sequence[str]) -> str | None:
    """The prompt whose text is a picture's description in XMP; keywords are none."""
    if _DESCRIPTION_PROMPT in prompts:
        return _DESCRIPTION_PROMPT
    return next((prompt for prompt in prompts if prompt != _SUBJECT_PROMPT), None)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
