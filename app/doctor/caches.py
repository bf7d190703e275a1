"""The doctor on the folders that Octavo keeps things in: sizes, and whether they can be written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ...core.contracts.specs import load_object
from ...core.system.cache_folder import cache_folder
from ...kernels.cpu.build import cache_folder as kernel_folder
from .finding import Remark
from .sizes import show_bytes

_LITTLE_ROOM = 2**30
_TRIED_BYTES = 2**16


def look_at_caches() -> Iterator[Remark]:
    """A line for each folder."""
    for what, find, otherwise in _FOLDERS:
        try:
            yield _look(what, find(), otherwise)
        except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
            yield "warn", f"{what}: {error}; {otherwise}"


def _hub_folder() -> Path:
    return Path(load_object("huggingface_hub.constants:HF_HUB_CACHE"))


#: What is kept, where, and what comes of a folder that can't be written.
_FOLDERS: tuple[tuple[str, Callable[[], Path], str], ...] = (
    ("models from the hub", _hub_folder, "no model can be downloaded; set HF_HOME"),
    (
        "compiled kernels",
        kernel_folder,
        "they go to a temporary folder; set OCTAVO_KERNEL_CACHE",
    ),
    (
        "what transformers says of checkpoints",
        lambda: cache_folder("transformers"),
        "each start asks it anew; set XDG_CACHE_HOME",
    ),
    (
        "verdicts on deployed models",
        lambda: cache_folder("verdicts"),
        "each start compares them anew; set XDG_CACHE_HOME",
    ),
    (
        "digests of weights",
        lambda: cache_folder("weights"),
        "they are hashed anew whenever they are asked for; set XDG_CACHE_HOME",
    ),
)


def _look(what: str, folder: Path, otherwise: str) -> Remark:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    held = f"holds {show_bytes(_bytes_in(folder))}" if there == folder else "not there yet"
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            os.posix_fallocate(file.fileno(), 0, _TRIED_BYTES)
    except OSError as error:
        return "warn", f"{what}: {folder} can't be written: {error.strerror}; {otherwise}"
    free = shutil.disk_usage(there).free
    text = f"{what}: {folder} {held}, {show_bytes(free)} are free"
    return ("ok", text) if free >= _LITTLE_ROOM else ("warn", f"{text}: too few for most models")


def _bytes_in(folder: Path) -> int:
    """Of the files in it; links, which the hub's cache is full of, count nothing."""
    return sum(
        os.lstat(os.path.join(path, name)).st_size
        for path, _, names in os.walk(folder)
        for name in names
        if not os.path.islink(os.path.join(path, name))
    )
