"""Forwarding of moved modules that packages outside import, with a warning, for one release."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any


def forward(old: str, new: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module that has moved: its names are in this module of
    `octavo.plugin` now."""

    def get(name: str) -> Any:
        # Dunder names, which Python itself looks for, must not import anything.
        module = None if name.startswith("__") else import_module(new)
        if module is None or not hasattr(module, name):
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        message = f"{old}.{name} has moved: import it from {new}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(module, name)

    return get
