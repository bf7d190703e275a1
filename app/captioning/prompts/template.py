"""Texts with facts of each picture in them, such as {stem} or {exif.date|an unknown day}."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from ....core.protocol.request_error import RequestError
from ....core.protocol.setting import nearest
from ..picture import PictureError
from .exif import FIELDS
from .picture_facts import FILE_FACTS, PictureFacts

_EXIF, _COLUMN = "exif.", "column."
#: A brace that is meant itself, a field, or a brace that is neither.
_BRACES = re.compile(r"(?P<literal>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<lone>[{}])")
#: Of a column that may be written without "column.".
_PLAIN_NAME = re.compile(r"\w+(?:[ -]\w+)*")
_KNOWN = (*FILE_FACTS, *(_EXIF + name for name in FIELDS))
_BRACE_HELP = "write {{ and }} for braces that are meant themselves"


@dataclass(frozen=True)
class _Field:
    """where: it stands, for errors. written: what is between the braces. default: in place of
    what a picture lacks."""

    where: str
    written: str
    name: str
    default: str | None

    @property
    def column(self) -> str | None:
        """The name of the column that is meant, if it is one."""
        if self.name in FILE_FACTS or self.name.startswith(_EXIF):
            return None
        return self.name.removeprefix(_COLUMN)

    def text(self, facts: PictureFacts) -> str:
        """Raises PictureError."""
        found = self._look_up(facts)
        if found is None:
            found = self.default
        if found is None:
            raise PictureError(f"{self._lack(facts)}; say what stands for it, as in {self._remedy}")
        return found

    def _look_up(self, facts: PictureFacts) -> str | None:
        if self.name in FILE_FACTS:
            return facts.of_file(self.name)
        if self.name.startswith(_EXIF):
            return facts.of_exif(self.name.removeprefix(_EXIF))
        return facts.of_column(self.name.removeprefix(_COLUMN))

    def _lack(self, facts: PictureFacts) -> str:
        asked = f"{self.where} asks for {{{self.written}}}"
        column = self.column
        if column is None:
            return f"{asked}, which this picture's file doesn't have"
        if column in facts.columns:
            return f"{asked}, and the column is empty for this picture"
        if not facts.columns:
            return f"{asked}, and this picture comes from no table with such a column"
        return (
            f"{asked}, which is no column of this picture's table{nearest(column, facts.columns)}"
        )

    @property
    def _remedy(self) -> str:
        return f"{{{self.name}|unknown}}"


class Template:
    """where: what the text is called in errors. Raises RequestError for a field that can't be."""

    def __init__(self, text: str, where: str) -> None:
        self._where = where
        self._parts: list[str | _Field] = []
        end = 0
        for found in _BRACES.finditer(text):
            self._parts.append(text[end : found.start()])
            self._parts.append(self._read(found))
            end = found.end()
        self._parts.append(text[end:])

    def check_columns(self, known: Collection[str]) -> None:
        """Raises RequestError if it asks for another column than these."""
        for field in self._fields:
            if field.column is not None and field.column not in known:
                raise self._unknown(field.written, field.name, known)

    def render(self, facts: PictureFacts) -> str:
        """Raises PictureError if the picture lacks what is asked for."""
        return "".join(p if isinstance(p, str) else p.text(facts) for p in self._parts)

    @property
    def _fields(self) -> list[_Field]:
        return [part for part in self._parts if isinstance(part, _Field)]

    def _read(self, found: re.Match[str]) -> str | _Field:
        if found["literal"]:
            return found["literal"][0]
        if found["lone"]:
            raise RequestError(
                f"{self._where} has a {found['lone']} without its other half; {_BRACE_HELP}"
            )
        written = found["field"]
        name, bar, default = written.partition("|")
        if name in FILE_FACTS or (name.startswith(_COLUMN) and name != _COLUMN):
            return _Field(self._where, written, name, default if bar else None)
        if name.startswith(_EXIF):
            if name.removeprefix(_EXIF) not in FIELDS:
                raise self._unknown(written, name, ())
        elif not _PLAIN_NAME.fullmatch(name):
            raise RequestError(
                f"{self._where}: {{{written}}} is no name of a fact or column; formats, "
                f"conversions and attributes are not known here; {_BRACE_HELP}, and "
                "{column.NAME} for a column of any name"
            )
        return _Field(self._where, written, name, default if bar else None)

    def _unknown(self, written: str, name: str, columns: Collection[str]) -> RequestError:
        hint = nearest(name.removeprefix(_COLUMN), (*_KNOWN, *columns))
        table = f", and the columns {', '.join(columns)}" if columns else ""
        return RequestError(
            f"{self._where}: {{{written}}} is not known{hint}; known are {', '.join(_KNOWN)}"
            f"{table}; {_BRACE_HELP}"
        )
