"""What becomes of each field of a JSON body: honoured, without effect, or refused by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

import msgspec

from .errors import HttpError

Body = TypeVar("Body", bound=msgspec.Struct)

#: Of a field's name in a message.
_MAX_NAME = 64
#: Beyond this, a float may not be the whole number that was written.
_MAX_EXACT = 2**53
_MISSING = re.compile(r"missing required field `([^`]*)`")
_PATH = re.compile(r"`\$\.?([^`]*)`$")


@dataclass(frozen=True)
class FieldTable(Generic[Body]):
    """null is every field's default; 2.0 is a whole number.

    honoured: a Struct of the fields that do something.
    harmless: fields that are taken and change nothing, each with why that is no harm.
    fixed: the only values, besides null, that a field may have, as they ask for what is done
        anyway; the honoured may be among them.
    refused: fields that are known and not honoured, each with what to do about it.
    free: the honoured whose values are taken as they are.
    """

    honoured: type[Body]
    harmless: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    free: frozenset[str] = frozenset()

    def read(self, given: Mapping[str, Any], within: str = "") -> Body:
        """The honoured fields. within: the name of the object, with a dot, if it is a field.

        Raises HttpError that names the field.
        """
        names = self.honoured.__struct_fields__
        kept: dict[str, Any] = {}
        for name, value in given.items():
            if value is None and self.knows(name):
                continue
            self._check(name, value, within)
            if name in names:
                kept[name] = value if name in self.free else _whole(value)
        for name, value in kept.items():
            if type(value) is int and not -(2**63) <= value < 2**63:
                param = within + name
                raise HttpError(400, f"{param} is too large: it must fit into 64 bits", param)
        try:
            return msgspec.convert(kept, self.honoured, str_keys=True)
        except msgspec.ValidationError as error:
            path = _path_of(str(error))
            message = str(error).replace("`$.", f"`{within}").replace("`$", "`")
            if within and not _PATH.search(str(error)):
                message = f"{message} - at `{within.removesuffix('.')}`"
            raise HttpError(400, message, within + path or None) from error

    def knows(self, name: str) -> bool:
        """Whether the field is any of those of this table."""
        return name in self.honoured.__struct_fields__ or any(
            name in known for known in (self.harmless, self.fixed, self.refused)
        )

    def _check(self, name: str, value: Any, within: str) -> None:
        param = within + shortened(name)
        if name in self.refused:
            message = f"{param} is not honoured here: {self.refused[name]}"
            raise HttpError(400, message, param, "unsupported_parameter")
        if name in self.fixed and value not in self.fixed[name]:
            allowed = " or ".join(msgspec.json.encode(v).decode() for v in self.fixed[name])
            message = f"{param} can only be {allowed} here; leave it out"
            raise HttpError(400, message, param, "unsupported_value")
        if not self.knows(name):
            hint = get_close_matches(shortened(name), self.honoured.__struct_fields__, 1)
            message = f"{param} is no field that is known here" + (
                f"; did you mean {hint[0]}?" if hint else "; leave it out"
            )
            raise HttpError(400, message, param, "unknown_parameter")


def _path_of(error: str) -> str:
    """The field that msgspec's message is about, missing ones too; "" if it is about none."""
    found = _PATH.search(error)
    path = found[1].removesuffix("[...]").strip(".") if found else ""
    missing = _MISSING.search(error)
    return ".".join(filter(None, (path, missing and missing[1])))


def shortened(name: str) -> str:
    """A name that a client made up, for a message."""
    return name if len(name) <= _MAX_NAME else name[:_MAX_NAME] + "…"


def _whole(value: Any) -> Any:
    """A value with floats that are whole numbers as ints, which fields of either kind take."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _MAX_EXACT else value
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value
