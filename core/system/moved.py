"""Old places of what packages outside import: they forward, with a warning, for one release."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any


def forward(old: str, *new: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module that has moved: its names are in these modules of
    `octavo.plugin` now."""

    def get(name: str) -> Any:
        for place in () if name.startswith("__") else new:
            module = import_module(place)
            if hasattr(module, name):
                message = f"{old}.{name} has moved: import it from {place}"
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                return getattr(module, name)
        raise AttributeError(f"module {old!r} has no attribute {name!r}")

    return get
