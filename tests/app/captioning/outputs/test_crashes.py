"""After a crash at any point, an output that goes on at its last position has each row once."""

from __future__ import annotations

import csv
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from caption_rows import ODD_TEXTS, row, rows_of
from octavo import RequestError
from octavo.app.captioning.outputs.open_sink import sink_for
from octavo.app.captioning.outputs.output_options import OutputOptions
from octavo.app.captioning.outputs.sink import START

OPTIONS = OutputOptions(("caption",), shard_size=7)
HEADER = {"octavo": {"model": "m"}}
ROWS = [row(f"{n}/{n % 3}.png", ODD_TEXTS[n % len(ODD_TEXTS)]) for n in range(60)]


def read_json_lines(path: Path) -> list[str]:
    _, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [line["file"] for line in lines]


def read_csv(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [line["file"] for line in csv.DictReader(file)]


def read_shards(path: Path) -> list[str]:
    names = []
    for shard in sorted(path.parent.glob("*.tar")):
        with tarfile.open(shard) as members:
            for member in members:
                content = members.extractfile(member)
                assert content is not None
                if member.name.endswith(".json"):
                    names.append(json.loads(content.read())["file"])
    return names


READERS: dict[str, Callable[[Path], list[str]]] = {
    ".jsonl": read_json_lines,
    ".csv": read_csv,
    ".tar": read_shards,
}


def newest(folder: Path, ending: str) -> Path:
    return max(folder.glob(f"*{ending}"))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ending", READERS)
def test_each_row_once(tmp_path: Path, ending: str, seed: int) -> None:
    """A crash leaves beyond the position: nothing, a part of the next rows, all of them, or what
    a file system makes of blocks that weren't written."""
    generator = random.Random(seed)
    path = tmp_path / f"out{ending}"
    position, done = START, 0
    while done < len(ROWS):
        sink = sink_for(path, OPTIONS)
        position = sink.begin(position, HEADER)
        while done < len(ROWS):
            num_rows = generator.randint(1, 9)
            if generator.random() < 0.3:
                break
            position = sink.write(ROWS[done : done + num_rows])
            done += num_rows
        sink.write(ROWS[done : done + num_rows])
        sink.finish(rows_of([]))
        if position == START:
            continue
        for extra in tmp_path.glob(f"*{ending}"):
            with extra.open("r+b") as file:
                if extra == newest(tmp_path, ending) and done < len(ROWS):
                    size = extra.stat().st_size
                    is_in_it = ending != ".tar" or f"-{position[0]:06d}." in extra.name
                    file.truncate(generator.randint(position[1] if is_in_it else 0, size))
                    file.seek(0, 2)
                    file.write(generator.randbytes(generator.randint(0, 2000)))
    sink = sink_for(path, OPTIONS)
    assert sink.begin(position, HEADER) == position
    sink.finish(rows_of([]))
    assert READERS[ending](path) == [r.name for r in ROWS]


@pytest.mark.parametrize("ending", READERS)
def test_an_output_that_somebody_changed(tmp_path: Path, ending: str) -> None:
    sink = sink_for(tmp_path / f"out{ending}", OPTIONS)
    sink.begin(START, HEADER)
    position = sink.write(ROWS[:3])
    sink.finish(rows_of([]))
    file = newest(tmp_path, ending)
    with file.open("r+b") as opened:
        opened.truncate(position[1] - 1)
    with pytest.raises(RequestError, match=r"shorter than this job left it: .* --overwrite"):
        sink_for(tmp_path / f"out{ending}", OPTIONS).begin(position, HEADER)
    assert file.stat().st_size == position[1] - 1
    file.unlink()
    with pytest.raises(RequestError, match="is gone"):
        sink_for(tmp_path / f"out{ending}", OPTIONS).begin(position, HEADER)
    assert not file.exists()


@pytest.mark.parametrize("ending", READERS)
def test_start_replaces_what_is_there(tmp_path: Path, ending: str) -> None:
    for rows in (ROWS, ROWS[:2]):
        sink = sink_for(tmp_path / f"out{ending}", OPTIONS)
        sink.begin(START, HEADER)
        sink.write(rows)
        sink.finish(rows_of([]))
    assert READERS[ending](tmp_path / f"out{ending}") == [r.name for r in ROWS[:2]]
