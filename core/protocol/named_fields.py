"""Structs that are made by name, and say which name was meant."""

from __future__ import annotations

from typing import Any

import msgspec

from .setting import nearest


class NamedFields(msgspec.StructMeta):
    """The metaclass of a struct whose fields people write. Raises TypeError, as Python does for an
    argument that isn't known, and names the nearest."""

    def __call__(cls, *values: Any, **fields: Any) -> Any:  # noqa: N805 - a metaclass
        """Make one."""
        known = cls.__struct_fields__
        if values:
            raise TypeError(f"{cls.__name__} takes its fields by name, such as {known[0]}=…")
        for name in fields:
            if name not in known:
                hint = nearest(name, known) or f"; it has {', '.join(known)}"
                raise TypeError(f"{cls.__name__} has no field {name!r}{hint}")
        return super().__call__(**fields)
