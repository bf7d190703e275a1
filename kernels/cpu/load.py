"""Library of this processor's kernels: found or compiled, tuned and loaded once."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from .build import build_library, cache_folder
from .isa import choose_isa
from .library import open_library
from .prebuilt import FOLDER as PREBUILT_FOLDER
from .tuning import Tuning, find_tuning


@cache
def load_library() -> ctypes.CDLL:
    """Library, compiled if it is not yet. Raises KernelError if it can't be."""
    library, tuning = _load()
    tuning.apply(library)
    return library


def describe_tuning() -> Iterator[str]:
    """Lines on the tuning that `load_library` chose, and why. Raises KernelError as it does."""
    return _load()[1].describe()


@cache
def _load() -> tuple[ctypes.CDLL, Tuning]:
    isa = choose_isa()
    path = build_library(isa)
    library = open_library(path)
    return library, find_tuning(library, _notes_folder(path), tiles="amx_tile" in isa.features)


def _notes_folder(library: Path) -> Path:
    """Folder of what is measured of a library: its own, but for one that was shipped, which may lie
    where nobody can write, one of the cache."""
    if library.parent.name != PREBUILT_FOLDER:
        return library.parent
    try:
        return cache_folder() / library.stem
    except RuntimeError:  # there is no home: measured each time
        return library.parent
