"""What is measured of a machine and chosen by it, and that all ways give the same."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import torch
from cpu_kernels.weights import random_weight
from octavo.__main__ import main
from octavo.kernels.cpu import tuning
from octavo.kernels.cpu.isa import choose_isa
from octavo.kernels.cpu.load import load_library
from octavo.kernels.cpu.packing import pack
from octavo.kernels.cpu.tuning import TILE_ROWS, Tuning, fewest_rows, find_tuning

#: Formats that tiles can multiply.
TILED = {"bfloat16", "int8", "int4_by_64", "int4_by_32", "int8_by_32", "int8_by_16"}
HAS_TILES = "amx_tile" in choose_isa().features


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Tuning]:
    """What was measured, in turn."""
    results: list[Tuning] = []
    measure = tuning.measure_tuning

    def measure_and_count(library: ctypes.CDLL, *, tiles: bool) -> Tuning:
        results.append(measure(library, tiles=tiles))
        return results[-1]

    monkeypatch.setattr(tuning, "measure_tuning", measure_and_count)
    return results


@pytest.fixture
def library() -> ctypes.CDLL:
    return load_library()


def test_a_machine_is_measured_once(
    library: ctypes.CDLL, measured: list[Tuning], tmp_path: Path
) -> None:
    first = find_tuning(library, tmp_path, tiles=HAS_TILES)
    assert find_tuning(library, tmp_path, tiles=HAS_TILES) == first
    assert measured == [first]
    assert first.streamed_to_cached > 0
    assert set(first.tiles_to_dots) == (TILED if HAS_TILES else set())
    # What can't be read is measured again, and written whole.
    (path,) = tmp_path.iterdir()
    path.write_text('{"stream_weights": 3')
    again = find_tuning(library, tmp_path, tiles=HAS_TILES)
    assert measured == [first, again]
    assert find_tuning(library, tmp_path, tiles=HAS_TILES) == again
    assert list(tmp_path.iterdir()) == [path]


def test_another_machine_is_measured_for_itself(
    library: ctypes.CDLL, measured: list[Tuning], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where homes are shared."""
    find_tuning(library, tmp_path, tiles=HAS_TILES)
    monkeypatch.setattr(tuning, "processor_identity", lambda: "another processor")
    find_tuning(library, tmp_path, tiles=HAS_TILES)
    assert len(measured) == len(list(tmp_path.iterdir())) == 2


def test_what_can_not_be_kept_is_measured_each_time(
    library: ctypes.CDLL, measured: list[Tuning], tmp_path: Path
) -> None:
    """A file where the folder should be: root may write everywhere else."""
    (tmp_path / "file").touch()
    for _ in range(2):
        find_tuning(library, tmp_path / "file" / "notes", tiles=False)
    assert len(measured) == 2


def test_a_folder_that_is_missing_is_made(
    library: ctypes.CDLL, measured: list[Tuning], tmp_path: Path
) -> None:
    """A shipped library's notes lie in a cache in which nothing was compiled."""
    for _ in range(2):
        find_tuning(library, tmp_path / "cache" / "name", tiles=False)
    assert len(measured) == 1


def test_tiles_are_used_from_where_on_they_gain() -> None:
    slow, fast = 1.0, 0.5
    assert len(TILE_ROWS) == 5
    assert fewest_rows([fast] * 5) == TILE_ROWS[0]
    assert fewest_rows([slow, fast, slow, fast, fast]) == TILE_ROWS[3]
    assert fewest_rows([fast, fast, fast, fast, slow]) == 0
    assert fewest_rows([slow] * 5) == 0


@pytest.mark.parametrize("kind", ["bfloat16", "int8", "int4", "int4 by 32", "int8 by 16"])
def test_all_ways_give_the_same(kind: str, library: ctypes.CDLL, tmp_path: Path) -> None:
    """Of whole numbers, to the bit."""
    ways = [
        Tuning(stream_weights=stream, tile_rows=rows)
        for stream in (False, True)
        for rows in ({}, dict.fromkeys(TILED, 1))
    ]
    weight = random_weight("float32", 80, 192)
    weight.weight.copy_(torch.randint(-3, 4, (80, 192)))  # type: ignore[union-attr]
    if kind != "bfloat16":
        weight = random_weight(kind, 80, 192)  # type: ignore[arg-type]
    packed = pack([weight], torch.bfloat16)
    try:
        for rows in (1, 3, 40):
            x = torch.randint(-3, 4, (rows, 192)).bfloat16()
            results = []
            for way in ways:
                way.apply(library)
                results.append(packed(x, torch.float32))
            for result in results[1:]:
                torch.testing.assert_close(result, results[0], rtol=1e-6, atol=1e-5)
    finally:
        find_tuning(library, tmp_path, tiles=HAS_TILES).apply(library)


def test_the_listing_says_what_was_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "--dtype", "bfloat16"]) == 0
    said = capsys.readouterr().out
    assert said.count("weights of one row are prefetched") == 1
    assert said.count("goes through AMX tiles") == (3 if HAS_TILES else 0)
