"""Pauses of Python's garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collections() -> Iterator[None]:
    """No collections meanwhile. Importing libraries and loading a model make objects by the
    hundred thousand that nearly all stay, and time and again the collector would look through
    all that are there already: a quarter of the time that a server takes to start."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
