"""Libraries of kernels: shipped with the package, or compiled once per processor into the user's
cache."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..spec import KernelError
from .compiler import (
    BUILD_PREFIX,
    TIMEOUT_SECONDS,
    CompilerMissingError,
    compile_library,
    find_compiler,
)
from .isa import Isa
from .prebuilt import find_prebuilt
from .recipe import Recipe

SOURCES = Path(__file__).parent / "src"
_LOCK_PAUSE_S = 0.05
_LIBRARY = "octavo_cpu.so"

#: Errors by library name: each operation asks for it again.
_failures: dict[str, str] = {}

_log = logging.getLogger(__name__)


def build_library(isa: Isa, extra_flags: Sequence[str] = (), sources: Path = SOURCES) -> Path:
    """The shared library for a level of instructions: one that was shipped, else one that is
    compiled unless it is in the cache or, where nothing can be written there, in a private folder
    for temporary files. sources: their folder.

    Raises CompilerMissingError, or KernelError with the compiler's first error; the same again when
    asked again, as this process tries once.
    """
    recipe = Recipe(sources, isa, tuple(extra_flags))
    prebuilt = find_prebuilt(recipe)
    if prebuilt is not None:
        return prebuilt
    compiler, version = find_compiler()
    name = recipe.name(version)
    if name in _failures:
        raise KernelError(_failures[name])
    try:
        return _find_or_build(name, recipe, compiler)
    except KernelError as error:
        _failures[name] = str(error)
        raise


def find_library(isa: Isa) -> Path | None:
    """What `build_library` would return without compiling, but for private folders; None if there
    is no such library."""
    recipe = Recipe(SOURCES, isa)
    prebuilt = find_prebuilt(recipe)
    if prebuilt is not None:
        return prebuilt
    try:
        library = cache_folder() / recipe.name(find_compiler()[1]) / _LIBRARY
    except (CompilerMissingError, RuntimeError):  # RuntimeError: there is no home
        return None
    return library if library.exists() else None


def _find_or_build(name: str, recipe: Recipe, compiler: str) -> Path:
    try:
        return _build_in(cache_folder() / name, recipe, compiler)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        why = str(error)
    try:
        folder = _temporary_folder()
        _log.warning("compiled kernels can't be kept (%s); they go to %s", why, folder)
        return _build_in(folder / name, recipe, compiler)
    except OSError as error:
        raise KernelError(
            f"there is nowhere to compile to ({why}; {error}); name a folder that can be written "
            "in OCTAVO_KERNEL_CACHE"
        ) from error


def _build_in(folder: Path, recipe: Recipe, compiler: str) -> Path:
    """Raises OSError if the folder can't be written or has no room, and KernelError."""
    library = folder / _LIBRARY
    if os.path.exists(library):
        return library
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder) as alone:
        if alone:  # leftovers of killed processes
            for left in folder.glob(f"{BUILD_PREFIX}*"):
                shutil.rmtree(left, ignore_errors=True)
        if not library.exists():
            started = time.monotonic()
            _say(f"compiling {recipe.title} (once; it takes some seconds) …")
            compile_library(recipe, compiler, library)
            _say(f"compiled {recipe.title} in {time.monotonic() - started:.1f} s")
    return library


def _say(message: str) -> None:
    """Tell the user why nothing else happens for seconds, also in a program that has set up no
    logging."""
    if _log.hasHandlers():
        _log.info("%s", message)
    else:
        print(message, file=sys.stderr, flush=True)


@contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Lock on a folder while a process compiles there; yields whether it is held. The wait has a
    limit, as the other process may hang; the lock of one that dies ends with it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    waiting = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waiting:
                _say("another process compiles the kernels; waiting for it …")
            waiting = True
        except OSError:  # the file system has no locks
            return False
        else:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOCK_PAUSE_S)


def cache_folder() -> Path:
    """Folder of compiled kernels: `OCTAVO_KERNEL_CACHE`, or one in the user's cache. Raises
    RuntimeError if there is no home."""
    given = os.environ.get("OCTAVO_KERNEL_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "octavo" / "kernels"


def _temporary_folder() -> Path:
    """Raises OSError if it is not ours alone: what lies in it is loaded as code."""
    folder = Path(tempfile.gettempdir()) / f"octavo-kernels-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise OSError(f"{folder} is not a folder that only this user can write")
    return folder
