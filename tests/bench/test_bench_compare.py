"""`octavo bench compare`: what it takes, what it measures, and how it ends."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import octavo
import pytest
from octavo.__main__ import main
from octavo.app import DEMO_MODEL
from octavo.bench.compare.compare_config import MEMORY_METRICS, METRICS, CompareConfig
from octavo.bench.compare.measure import measure
from octavo.bench.compare.paired_runs import SideRuns, log_ratios
from octavo.bench.compare.self_check import tally
from octavo.bench.compare.side import Side, find_side
from octavo.bench.compare.worker_process import WorkerProcess
from octavo.bench.smollm2_checkpoint import save_smollm2

ROOT = Path(octavo.__file__).resolve().parent
ONE_PAIR = CompareConfig(pairs=1, quads=1, startup=True, model=str(DEMO_MODEL))


def runs(side: str, factors: dict[str, float], pairs: int = 8, run_id: str = "one") -> SideRuns:
    """Runs with a drift that both sides share, and their own factor."""
    made = SideRuns(run_id, side)
    for pair in range(pairs):
        for metric in METRICS:
            for turn in range(4):
                seconds = 0.1 * (1 + 0.3 * pair) * (1 + 0.01 * turn)
                made.add(metric, pair, seconds * factors.get(metric, 1.0))
    return made


def saved(folder: Path, *sides: SideRuns) -> list[str]:
    """Each into a file of its own."""
    number = len(list(folder.iterdir()))
    paths = [folder / f"{number + i}.json" for i in range(len(sides))]
    for path, side in zip(paths, sides, strict=True):
        side.write(path)
    return [str(path) for path in paths]


def test_runs_are_judged_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = saved(tmp_path, runs("base", {}), runs("new", {}))
    assert main(["bench", "compare", *same]) == 0
    assert "regression" not in capsys.readouterr().out.replace("regressions", "")
    slower = saved(tmp_path, runs("base", {}), runs("new", {"decode": 1.3, "image": 0.8}))
    file = tmp_path / "verdict.json"
    assert main(["bench", "compare", *slower, f"--output-json={file}"]) == 1
    said = capsys.readouterr().out
    assert "regression: decode takes 1.300 times as long (p = 0.0156" in said
    result = json.loads(file.read_text())
    assert result["regressions"] == ["decode"]
    assert result["metrics"]["decode"]["log_ratios"] == pytest.approx([math.log(1.3)] * 8)
    assert result["metrics"]["image"]["ratio"] == pytest.approx(0.8)
    # Held against a larger loss that is allowed.
    assert main(["bench", "compare", *slower, "--min-effect=0.35"]) == 0
    # The other way round, the image got slower.
    assert main(["bench", "compare", *reversed(slower)]) == 1
    assert "regression: image takes 1.250 times as long" in capsys.readouterr().out


def test_unusable_files_of_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = runs("base", {})
    longer = runs("new", {}, pairs=9)
    bad = runs("new", {})
    bad.seconds["decode"][0][0] = 0.0
    (tmp_path / "text.json").write_text('{"duration": 3}')
    text, missing = str(tmp_path / "text.json"), str(tmp_path / "none.json")
    for pair, expected in (
        (saved(tmp_path, good, runs("new", {}, run_id="two")), "were not measured together"),
        (saved(tmp_path, good, longer), "do not have the same measurements"),
        (saved(tmp_path, SideRuns("one", "a"), SideRuns("one", "b")), "the same measurements"),
        (saved(tmp_path, runs("base", {}, 3), runs("new", {}, 3)), "6 are needed"),
        (saved(tmp_path, good, bad), "times that are not above 0 s"),
        ([*saved(tmp_path, good), text], "holds no runs of a side"),
        ([*saved(tmp_path, good), missing], "can't be read: No such file"),
        ([*saved(tmp_path, good), str(ROOT)], "can only be compared with another"),
    ):
        assert main(["bench", "compare", *pair]) == 2
        assert expected in capsys.readouterr().err


def test_unusable_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    false = "/usr/bin/false"
    for options, expected in (
        ([], "needs BASE and NEW"),
        ([str(ROOT)], "needs BASE and NEW"),
        ([str(ROOT), str(tmp_path)], "is no environment, no interpreter and no source tree"),
        ([f"{ROOT}@{tmp_path}", str(ROOT)], "is neither an interpreter nor an environment"),
        ([false, false], "the measuring process ended"),
        (["--pairs=17", "a", "b"], "pairs must be from 1 to 16"),
        (["--quads=0", "a", "b"], "quads must be at least 1"),
        (["--alpha=2", "a", "b"], "alpha must be between 0 and 1"),
        (["--self-check", "--clean=0", "--slowed=0"], "there is nothing to do"),
        (["--self-check", "--slowdown=0.05"], "no more than --min-effect"),
    ):
        assert main(["bench", "compare", *options]) == 2
        assert expected in capsys.readouterr().err


def test_a_worker_that_fails_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tree whose package can't be imported."""
    (tmp_path / "core" / "engine").mkdir(parents=True)
    (tmp_path / "core" / "engine" / "engine_core.py").touch()
    (tmp_path / "__init__.py").write_text("raise SystemError('broken on purpose')")
    assert main(["bench", "compare", str(tmp_path), str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}: the measuring process ended" in error
    assert "SystemError: broken on purpose" in error


def test_sides_are_what_they_are_called(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "pyvenv.cfg").touch()
    (environment / "bin" / "python").symlink_to(sys.executable)
    python = str(environment / "bin" / "python")
    assert (find_side(str(environment)).python, find_side(str(environment)).tree) == (python, None)
    assert find_side(python).python == python
    tree = find_side(str(ROOT))
    assert (tree.python, tree.tree) == (sys.executable, ROOT)
    both = find_side(f"{ROOT}@{environment}")
    assert (both.python, both.tree) == (python, ROOT)


def test_both_sides_do_the_same_and_a_slowdown_shows(tmp_path: Path) -> None:
    """Real workers: of a tree of another name, and of the same, six times as slow."""
    copy = tmp_path / "some checkout"
    copy.symlink_to(ROOT)
    sides = (find_side(str(copy)), find_side(str(ROOT)))
    base, new = asyncio.run(measure(sides, ONE_PAIR, slowdown=5.0))
    assert base.seconds.keys() == new.seconds.keys() == {*METRICS, "startup"}
    assert [len(base.seconds[metric][0]) for metric in METRICS] == [2] * 4
    assert base.package == new.package == str(ROOT / "__init__.py")
    ratios = log_ratios(base, new)
    # Six times as long but for what is not a step, which on a fast machine is much; with room for
    # a busy one.
    for metric in ("prefill", "decode", "batch"):
        assert math.exp(ratios[metric][0]) > 1.2
    path = tmp_path / "base.json"
    base.write(path)
    assert json.loads(path.read_text())["run_id"] == new.run_id


def test_each_side_loads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the second one's time to load would hold the first one's."""
    events = []
    spawn, until_ready = WorkerProcess.spawn, WorkerProcess.until_ready

    async def seen_spawn(side: Side, folder: Path, options: list[str]) -> WorkerProcess:
        events.append("spawn")
        return await spawn(side, folder, options)

    async def seen_ready(worker: WorkerProcess) -> None:
        await until_ready(worker)
        events.append("ready")

    monkeypatch.setattr(WorkerProcess, "spawn", seen_spawn)
    monkeypatch.setattr(WorkerProcess, "until_ready", seen_ready)
    config = CompareConfig(pairs=1, quads=1, startup=True, model=str(DEMO_MODEL))
    base, new = asyncio.run(measure((find_side(str(ROOT)), find_side(str(ROOT))), config))
    assert events == ["spawn", "ready"] * 2
    assert base.seconds["startup"][0] != new.seconds["startup"][0]


def test_models_that_are_measured(tmp_path: Path) -> None:
    """By default also one whose weights come from memory, here of one layer only."""
    assert CompareConfig().metrics == (*METRICS, *MEMORY_METRICS)
    assert CompareConfig(model=str(DEMO_MODEL)).metrics == METRICS
    save_smollm2(tmp_path, num_layers=1)
    assert CompareConfig(model=str(tmp_path)).metrics == METRICS[:-1]

    async def measured() -> list[float]:
        options = [f"--model={tmp_path}", f"--memory-model={tmp_path}"]
        worker = await WorkerProcess.spawn(find_side(str(ROOT)), tmp_path, options)
        try:
            await worker.until_ready()
            return [await worker.measure(metric, seed=1) for metric in MEMORY_METRICS]
        finally:
            await worker.stop()

    assert all(seconds > 0 for seconds in asyncio.run(measured()))


def test_a_self_check_counts_alarms() -> None:
    def tallied(clean: str, slowed: str) -> dict[str, object]:
        """A letter for each comparison: x for an alarm."""
        ended = [(0.0, letter) for letter in clean] + [(0.3, letter) for letter in slowed]
        return tally([{"slowdown": s, "regressions": ["decode"] * (x == "x")} for s, x in ended])

    assert tallied("-x-", "xx") == {
        "false_alarms": 1, "of_clean": 3, "caught": 2, "of_slowed": 2, "passed": True
    }  # fmt: skip
    assert not tallied("-xx", "xx")["passed"]
    assert not tallied("---", "x-")["passed"]
    assert tallied("x" * 2 + "-" * 38, "")["passed"]
    assert not tallied("x" * 3 + "-" * 37, "")["passed"]


def test_the_gate_needs_a_revision() -> None:
    for name in (None, "no-such-revision"):
        environment = {k: v for k, v in os.environ.items() if k != "OCTAVO_BENCH_BASE"}
        if name is not None:
            environment["OCTAVO_BENCH_BASE"] = name
        gate = subprocess.run(
            [ROOT / "scripts" / "bench-gate"], env=environment, capture_output=True, text=True
        )
        assert gate.returncode == 2
        assert "OCTAVO_BENCH_BASE must name a revision" in gate.stderr
