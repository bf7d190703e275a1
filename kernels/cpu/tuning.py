"""Tuning parameters whose best value depends on the machine: both sides of each choice are timed
once, and the result is kept beside the compiled library. See src/tuning.h.

A processor's name is not enough: the same instructions may be slow on one machine and fast on the
next, with other caches or another hypervisor.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import torch

from ..processor import processor_identity
from .library import MAX_SEGMENTS, SegmentStruct, TuningStruct, WeightStruct
from .memory import weight_memory
from .weight_format import LANES, Format

#: Twice the last-level cache that a core of a common server reaches.
_STREAMED_BYTES = 64 << 20
#: Inputs and outputs of a weight that is larger than L2, in any format of eight bits or more.
_TILED_SIZE = 2048
#: Numbers of rows at which tiles are tried: decode batches, and prompts.
TILE_ROWS = (4, 8, 16, 32, 128)
_TILED_FORMATS = tuple(f for f in Format if f not in (Format.FLOAT32, Format.FLOAT8_BY_64))
_ROUNDS = 5
#: Relative time below which the alternative replaces the default.
_GAIN = 0.95

_log = logging.getLogger(__name__)


class Tuning(msgspec.Struct, frozen=True):
    """Chosen parameters, and the times that decided them.

    stream_weights: whether the weights of a single row are prefetched non-temporally.
    streamed_to_cached: relative time of a row's product with and without.
    tile_rows: by format, the fewest rows that go through AMX tiles; 0 for none.
    tiles_to_dots: by format, the time by tiles to that by dot products, for each of `TILE_ROWS`.
    """

    stream_weights: bool = False
    streamed_to_cached: float = 1.0
    tile_rows: dict[str, int] = {}
    tiles_to_dots: dict[str, list[float]] = {}

    def apply(self, library: ctypes.CDLL) -> None:
        """Pass the parameters to a library."""
        rows = [self.tile_rows.get(format.name.lower(), 0) for format in Format]
        struct = TuningStruct(int(self.stream_weights), (ctypes.c_int32 * len(rows))(*rows))
        library.octavo_tune(ctypes.byref(struct))

    def describe(self) -> Iterator[str]:
        """A line for each choice and why it was made."""
        chosen = "streamed" if self.stream_weights else "cached"
        yield (
            f"weights of one row are prefetched {chosen}: "
            f"streamed takes {self.streamed_to_cached:.2f} times as long as cached here"
        )
        for name, ratios in self.tiles_to_dots.items():
            rows = self.tile_rows.get(name, 0)
            chosen = f"from {rows} rows on" if rows else "never"
            times = ", ".join(
                f"{ratio:.2f} for {n}" for n, ratio in zip(TILE_ROWS, ratios, strict=True)
            )
            yield f"{name} goes through AMX tiles {chosen}: time to dot products' by rows {times}"


def find_tuning(library: ctypes.CDLL, folder: Path, *, tiles: bool) -> Tuning:
    """Tuning of this machine from the folder, else measured in well under a second and kept there.

    tiles: whether the library has code for AMX tiles.
    """
    path = folder / f"tuning-{_machine()}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Tuning)
    except (OSError, msgspec.DecodeError):
        tuning = measure_tuning(library, tiles=tiles)
    try:
        _write(path, tuning)
    except OSError as error:
        _log.debug("what was measured of the kernels can't be kept in %s: %s", path, error)
    return tuning


def measure_tuning(library: ctypes.CDLL, *, tiles: bool) -> Tuning:
    """Time both ways in turn. Leaves the library tuned to either of them."""
    streamed = _ratio(
        _Product(library, Format.INT8, _STREAMED_BYTES // _TILED_SIZE, 1, torch.get_num_threads()),
        partial(Tuning().apply, library),
        partial(Tuning(stream_weights=True).apply, library),
    )
    ratios = {}
    for format in _TILED_FORMATS if tiles else ():
        name = format.name.lower()
        ratios[name] = [
            _ratio(
                # By one thread: several wait for each other wherever another program runs.
                _Product(library, format, _TILED_SIZE, rows, threads=1),
                partial(Tuning().apply, library),
                partial(Tuning(tile_rows={name: 1}).apply, library),
            )
            for rows in TILE_ROWS
        ]
    return Tuning(
        streamed < _GAIN,
        streamed,
        {name: fewest_rows(values) for name, values in ratios.items()},
        ratios,
    )


def fewest_rows(ratios: list[float]) -> int:
    """The first of `TILE_ROWS` from which on tiles gain at each; 0 if there is none."""
    fewest = 0
    for rows, ratio in zip(reversed(TILE_ROWS), reversed(ratios), strict=True):
        if not ratio < _GAIN:
            break
        fewest = rows
    return fewest


def _ratio(
    work: Callable[[], object], first: Callable[[], None], second: Callable[[], None]
) -> float:
    """The time of some work after `second` to that after `first`, in turn: the shortest of several,
    as another program may take the processor, and its caches, meanwhile."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for way, choose in ((0, first), (1, second), (1, second), (0, first)):
            seconds[way].append(_timed(choose, work))
    return min(seconds[1]) / min(seconds[0])


def _timed(choose: Callable[[], None], work: Callable[[], object]) -> float:
    choose()
    # The processor's, as far as one thread does the work; with several, about the clock's.
    started = time.thread_time()
    work()
    return time.thread_time() - started


class _Product:
    """Multiplies rows of bfloat16 with a weight of ones when it is called."""

    def __init__(
        self, library: ctypes.CDLL, format: Format, outputs: int, rows: int, threads: int
    ) -> None:
        self._threads = threads
        self._multiply = library.octavo_linear
        size = library.octavo_packed_bytes(format, outputs, _TILED_SIZE)
        self._data = weight_memory.allocate(size).fill_(1)
        self._scale = torch.ones(outputs)
        segment = SegmentStruct(self._data.data_ptr(), -(-outputs // LANES), format)
        self._weight = WeightStruct(
            *((SegmentStruct * MAX_SEGMENTS)(segment), self._scale.data_ptr(), None),
            *(outputs, _TILED_SIZE, 1, 1),
        )
        self._x = torch.ones(rows, _TILED_SIZE, dtype=torch.bfloat16)
        self._out = torch.empty(rows, outputs, dtype=torch.bfloat16)

    def __call__(self) -> None:
        self._multiply(
            *(ctypes.byref(self._weight), self._x.data_ptr(), _TILED_SIZE, len(self._x)),
            *(self._out.data_ptr(), 1, 1, self._threads),
        )


def _machine() -> str:
    """Hash of the machine's kind, as a cache may be shared, and of how it is measured."""
    identity = f"{processor_identity()} {os.cpu_count()} {torch.get_num_threads()}"
    return hashlib.sha256(identity.encode() + Path(__file__).read_bytes()).hexdigest()[:12]


def _write(path: Path, tuning: Tuning) -> None:
    """Write atomically, as other processes may write it too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(tuning))
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
