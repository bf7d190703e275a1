"""Each picture has one row, whatever ended the job meanwhile."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet
import pytest
from octavo.app.captioning.picture import printable
from odd_pictures import make_odd_pictures

SUPPORT = Path(__file__).parents[2] / "support"
COUNT, KILLS = 150, 3


def run(output: str, folder: Path, *more: str, kill_after: float | None = None) -> int:
    """The status of a job, which is killed so many seconds after it has begun."""
    command = [sys.executable, str(SUPPORT / "caption_job.py"), output, str(folder), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as job:
        assert job.stdout is not None
        job.stdout.readline()
        if kill_after is not None:
            time.sleep(kill_after)
            job.kill()
        return job.wait()


def rows_of(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        return [line for line in lines if "octavo" not in line]
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    return [dict(row) for row in pyarrow.parquet.read_table(path).to_pylist()]


def shown(names: Iterable[str]) -> Counter[str]:
    return Counter(printable(name) for name in names)


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_killed_at_random(tmp_path: Path, ending: str) -> None:
    seed = 23
    print("seed", seed)
    rng = random.Random(seed)
    good, bad = make_odd_pictures(tmp_path / "pictures", COUNT, seed)
    output = tmp_path / f"captions{ending}"
    for _ in range(KILLS):
        run(str(output), tmp_path / "pictures", "--slow", kill_after=rng.random() * 0.4)
    assert run(str(output), tmp_path / "pictures") == 0
    rows = rows_of(output)
    assert shown(good | bad) == Counter(row["file"] for row in rows)
    captioned = [row for row in rows if not row.get("error")]
    assert Counter(row["file"] for row in captioned) == shown(good)
    assert all(row["caption"].count(" x ") == 1 for row in captioned)


def test_sidecars_of_a_job_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    good, _ = make_odd_pictures(folder, COUNT, 5)
    before = {path for path in folder.rglob("*") if path.is_file()}
    for pause in (0.05, 0.2, 0.3):
        run("none", folder, "--slow", "--sidecar", ".json", kill_after=pause)
    assert run("none", folder, "--sidecar", ".json") == 0
    made = {path for path in folder.rglob("*") if path.is_file()} - before
    made -= {path for path in made if path.name.startswith(".octavo-captions.journal")}
    assert Counter(map(str, made)) == Counter(os.path.splitext(name)[0] + ".json" for name in good)
    assert all(json.loads(path.read_bytes())["caption"] for path in made)


def test_shards_of_a_job_that_is_killed(tmp_path: Path) -> None:
    good, _ = make_odd_pictures(tmp_path / "pictures", COUNT, 6)
    output = tmp_path / "shards.tar"
    for pause in (0.05, 0.2, 0.3):
        run(str(output), tmp_path / "pictures", "--slow", kill_after=pause)
    assert run(str(output), tmp_path / "pictures") == 0
    found = []
    for path in sorted(tmp_path.glob("shards-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    content = tar.extractfile(member)
                    assert content is not None
                    found.append(json.load(content)["file"])
    assert Counter(found) == shown(good)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_once_what_runs_is_written(tmp_path: Path, number: signal.Signals) -> None:
    good, bad = make_odd_pictures(tmp_path / "pictures", COUNT, 7)
    output = tmp_path / "captions.jsonl"
    command = [sys.executable, str(SUPPORT / "caption_job.py"), str(output)]
    command += [str(tmp_path / "pictures"), "--slow"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as job:
        assert job.stdout is not None
        job.stdout.readline()
        time.sleep(0.1)
        job.send_signal(number)
        _, said = job.communicate()
    assert job.returncode == 128 + number, said
    assert "finishing what runs" in said
    assert "Do it again." in said
    written = Counter(row["file"] for row in rows_of(output))
    assert 0 < len(written) < COUNT
    assert set(written.values()) == {1}
    assert run(str(output), tmp_path / "pictures") == 0
    assert Counter(row["file"] for row in rows_of(output)) == shown(good | bad)
