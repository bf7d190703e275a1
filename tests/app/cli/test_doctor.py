"""`octavo doctor` as a process: on this machine, and where much is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

#: Runs the command, and ends with 3 if that has imported torch.
WITHOUT_TORCH = """
import sys
from octavo.__main__ import main
status = main()
sys.exit(3 if "torch" in sys.modules else status)
"""
PLUGIN = """
[octavo]
broken-plugin = octavo_broken_plugin
"""


def doctor(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, "doctor", *words]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300
    )


def install(folder: Path, name: str, installed: str, entry_points: str = "") -> None:
    """A package's record, as an installer writes it."""
    record = folder / f"{name.replace('-', '_')}-{installed}.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {installed}\n")
    (record / "entry_points.txt").write_text(entry_points)


def told(report: dict[str, Any], part: str) -> list[tuple[str, str]]:
    return [(f["status"], f["text"]) for f in report["findings"] if f["part"] == part]


def test_on_this_machine() -> None:
    done = doctor("--json")
    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr, report["healthy"]) == (0, "", True), done
    ((_, versions),) = told(report, "versions")
    assert f"torch {version('torch')}, transformers {version('transformers')}" in versions
    status, threads = told(report, "threads")[0]
    allowed = len(os.sched_getaffinity(0))
    assert (status, threads) == ("ok", f"{allowed} of {os.cpu_count()} processors may be used")
    (*_, answer, _took) = told(report, "self-test")
    assert answer == (
        "ok",
        "the demo model says of a picture of a dog: This is a dog, an animal.",
    )
    parts = [finding["part"] for finding in report["findings"]]
    wanted = "versions processor threads memory accelerator compiler kernels caches plugins"
    assert list(dict.fromkeys(parts)) == [*wanted.split(), "settings", "self-test"]


def test_where_much_is_broken(tmp_path: Path) -> None:
    """One line for each fault, and everything else is looked at all the same."""
    packages = tmp_path / "packages"
    install(packages, "torch", "1.0")
    install(packages, "octavo-broken", "0.3", PLUGIN)
    (packages / "torch.py").write_text("raise ImportError('libtorch.so: cannot open')\n")
    (packages / "octavo_broken_plugin.py").write_text("1 / 0\n")
    (tmp_path / "octavo.toml").write_text("max_num_sqs = 8\n")
    (tmp_path / "file").touch()
    done = doctor(
        "--config",
        str(tmp_path / "octavo.toml"),
        PYTHONPATH=str(packages),
        PATH="",
        OCTAVO_CPU_ISA="pentium",
        XDG_CACHE_HOME=str(tmp_path / "file"),
        OCTAVO_KERNEL_CACHE=str(tmp_path / "file" / "kernels"),
    )
    assert (done.returncode, done.stderr) == (1, "")
    *lines, last = done.stdout.splitlines()
    for status, part, text in (
        ("FAIL", "versions", "torch 1.0 is installed: octavo needs torch>=2.9; pip install 'torch"),
        ("FAIL", "processor", "OCTAVO_CPU_ISA: 'pentium' can't be used here; usable"),
        ("warn", "compiler", "no GNU C++ compiler found; on Debian and Ubuntu: apt install g++;"),
        ("FAIL", "kernels", "OCTAVO_CPU_ISA"),
        ("warn", "caches", f"compiled kernels: {tmp_path}/file/kernels can't be written: Not a"),
        ("warn", "caches", f"verdicts on deployed models: {tmp_path}/file/octavo/verdicts can't"),
        ("FAIL", "plugins", "broken-plugin (octavo-broken 0.3) is refused: ZeroDivisionError: div"),
        (
            "FAIL",
            "settings",
            f"--config: {tmp_path}/octavo.toml: max_num_sqs is no setting of this",
        ),
        ("FAIL", "self-test", "ImportError: libtorch.so: cannot open"),
    ):
        start = f"{status}  {part:13}  {text}"
        assert [line for line in lines if line.startswith(start)], (start, lines)
    assert [line for line in lines if line.startswith("ok    memory")]
    fails, warnings = (sum(line.startswith(s) for line in lines) for s in ("FAIL", "warn"))
    assert last == f"failures: {fails}, warnings: {warnings}"


@pytest.mark.parametrize(
    ("torch", "message"),
    [
        ("import os; os.kill(os.getpid(), 4)", "its process ended by SIGILL: it said nothing"),
        ("print('hello'); raise ValueError('odd\\nindeed')", "ValueError: odd indeed"),
    ],
)
def test_debug_and_a_torch_that_ends_its_process(torch: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(torch + "\n")
    done = doctor("--debug", "--json", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert told(json.loads(done.stdout), "self-test") == [("FAIL", message)]
    assert ("Traceback" in done.stderr) == ("ValueError" in message)
