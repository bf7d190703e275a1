"""A disk that fills up leaves whole outputs, which are gone on with once there is space."""

from __future__ import annotations

import errno
import json
import random
import resource
import subprocess
import tarfile
from base64 import b85encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from caption_rows import PNG, row, rows_of
from octavo.app.captioning.outputs.open_sink import sink_for
from octavo.app.captioning.outputs.output_options import OutputOptions
from octavo.app.captioning.outputs.row import Row
from octavo.app.captioning.outputs.sink import START
from pyarrow import parquet

GENERATOR = random.Random(0)
#: What doesn't compress.
TEXTS = [b85encode(GENERATOR.randbytes(8_000)).decode() for _ in range(150)]
NAMES = [f"{n:03}.png" for n in range(len(TEXTS))]
NUM_IN_BATCH = 10


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no tmpfs can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)


def rows_in(folder: Path) -> list[Row]:
    pairs = zip(NAMES, TEXTS, strict=True)
    return [Row(n, str(folder / n), {"caption": text}, content=PNG) for n, text in pairs]


def read_lines(disk: Path) -> list[str]:
    lines = (disk / "out.jsonl").read_text().splitlines(keepends=True)
    assert all(line.endswith("\n") for line in lines)
    return [json.loads(line)["file"] for line in lines]


def read_csv(disk: Path) -> list[str]:
    lines = (disk / "out.csv").read_text().splitlines(keepends=True)
    assert all(line.endswith("\n") and line.count(",") == 2 for line in lines)
    return [line.split(",")[0] for line in lines[1:]]


def read_shards(disk: Path) -> list[str]:
    names = []
    for shard in sorted(disk.glob("out-*.tar")):
        with tarfile.open(shard) as members:
            names += [Path(name).stem + ".png" for name in members.getnames() if ".json" in name]
    return names


def read_sidecars(disk: Path) -> list[str]:
    found = sorted(disk.glob("*.txt"))
    assert all(f"{TEXTS[int(file.stem)]}\n" == file.read_text() for file in found)
    assert not list(disk.glob(".octavo*"))
    return [f"{file.stem}.png" for file in found]


@pytest.mark.parametrize(
    ("output", "read"),
    [
        ("out.jsonl", read_lines),
        ("out.csv", read_csv),
        ("out.tar", read_shards),
        (None, read_sidecars),
    ],
)
def test_full(disk: Path, output: str | None, read: Callable[[Path], list[str]]) -> None:
    options = OutputOptions(("caption",), shard_size=35, sidecars=() if output else (".txt",))
    path = disk / output if output else None
    rows = rows_in(disk)
    for name in NAMES:
        (disk / name).touch()
    sink = sink_for(path, options)
    position, done = sink.begin(START, None), 0
    error = None
    while done < len(rows) and error is None:
        try:
            position = sink.write(rows[done : done + NUM_IN_BATCH])
            done += NUM_IN_BATCH
        except OSError as raised:
            error = raised
    assert error is not None
    assert error.errno == errno.ENOSPC
    assert Path(error.filename).parent == disk
    assert 0 < done < len(rows)
    sink.finish(rows_of([]))
    there = read(disk)
    assert there[:done] == NAMES[:done]
    assert set(there[done:]) < set(NAMES[done : done + NUM_IN_BATCH])

    enlarge(disk)
    sink = sink_for(path, options)
    sink.begin(position, None)
    sink.write(rows[done:])
    sink.finish(rows_of([]))
    assert read(disk) == NAMES


def test_parquet(disk: Path) -> None:
    """What was there stays until the new file is whole."""
    path = disk / "out.parquet"
    rows = rows_in(disk)
    options = OutputOptions(("caption",))

    def finish(num_rows: int) -> None:
        sink = sink_for(path, options)
        sink.begin(START, None)
        sink.finish(rows_of(rows[:num_rows]))

    finish(10)
    with pytest.raises(OSError, match="No space left") as raised:
        finish(len(rows))
    assert raised.value.filename == str(path)
    assert [file.name for file in disk.iterdir()] == ["out.parquet"]
    assert parquet.read_table(path)["file"].to_pylist() == NAMES[:10]
    enlarge(disk)
    finish(len(rows))
    assert parquet.read_table(path)["caption"].to_pylist() == TEXTS


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_file_that_may_not_grow(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    sink = sink_for(path, OutputOptions(("caption",)))
    sink.begin(START, None)
    position = sink.write([row("a")])
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (position[1] + 3, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            sink.write([row("b")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.filename == str(path)
    assert path.read_bytes() == before
    sink.write([row("c")])
    sink.finish(rows_of([]))
    assert len(path.read_text().splitlines()) == len(before.decode().splitlines()) + 1
