"""Compiling where the cache can't be written, where there is no room, and beside others."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cpu_kernels.levels import OWN
from cpu_kernels.small_sources import small_sources
from octavo.kernels.cpu import build
from octavo.kernels.cpu.compiler import compilers_at_once, find_compiler
from octavo.kernels.spec import KernelError
from serving import wait_until

QUICK = ("-O0",)
BUILD = """
import logging, sys
logging.basicConfig(format="%(levelname)s %(message)s")
from octavo.kernels.cpu.build import build_library
from octavo.kernels.cpu.isa import LEVELS
from pathlib import Path
print(build_library(LEVELS[-1], ("-O0",), Path(sys.argv[1])))
"""


@pytest.fixture
def own_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, as this process and those that it starts see it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def counting_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A compiler that writes down that it was called, and what it is; yields that file."""
    calls = tmp_path / "calls"
    calls.touch()
    compiler = tmp_path / "g++-counting"
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo counting 1.0 && exit\n'
        f"echo $$ >> {calls}\nexec ${{FAKE_WORK:-false}}\n"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    find_compiler.cache_clear()
    yield calls
    find_compiler.cache_clear()


def calls_of(calls: Path) -> list[int]:
    return [int(line) for line in calls.read_text().split()]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_cache_that_can_not_be_written_is_replaced_by_a_private_folder(
    tmp_path: Path, own_temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where the folder should be: root may write everywhere else."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(tmp_path / "file" / "kernels"))
    command = [sys.executable, "-c", BUILD, str(small_sources(tmp_path))]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2)]
    library = Path(runs[0].stdout.strip())
    assert runs[1].stdout == runs[0].stdout
    folder = own_temporary / f"octavo-kernels-{os.geteuid()}"
    assert folder in library.parents
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for run in runs:
        (said,) = run.stderr.splitlines()
        assert said.startswith("WARNING compiled kernels can't be kept")
        assert str(tmp_path / "file") in said


def test_code_is_not_loaded_from_a_folder_that_others_can_write(
    tmp_path: Path, own_temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(tmp_path / "file" / "kernels"))
    shared = own_temporary / f"octavo-kernels-{os.geteuid()}"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(KernelError, match=r"only this user can write.*OCTAVO_KERNEL_CACHE"):
        build.build_library(OWN.base, (*QUICK, "-DOTHERS"))


def test_a_full_disk_is_found_out_before_anything_is_compiled(
    tmp_path: Path,
    own_temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    counting_compiler: Path,
) -> None:
    """A limit on the size of files stands for the disk; the whole engine's table is resolved."""
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(tmp_path / "cache"))
    code = (
        "import resource, logging\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
        "logging.basicConfig(format='%(levelname)s %(message)s')\n"
        "from octavo.kernels.dispatch import resolve_kernels\n"
        "print(sorted(set(resolve_kernels().backends.values())))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cpu" not in run.stdout
    assert calls_of(counting_compiler) == []
    (refusal,) = [line for line in run.stderr.splitlines() if "are not used" in line]
    assert "nowhere to compile to" in refusal


def test_a_failure_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counting_compiler: Path
) -> None:
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(tmp_path / "cache"))
    code = "from octavo.kernels.dispatch import resolve_kernels\nresolve_kernels()\n"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # The first that fails ends the others, and is said once.
    assert 1 <= len(calls_of(counting_compiler)) <= compilers_at_once()
    assert run.stderr.count("are not used") == 1


def test_one_compiles_while_others_wait_and_a_dead_one_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counting_compiler: Path
) -> None:
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_WORK", "sleep 600")
    at_once = min(compilers_at_once(), len(list(build.SOURCES.glob("*.cpp"))))
    command = [sys.executable, "-c", BUILD, str(build.SOURCES)]
    with subprocess.Popen(command) as holder, subprocess.Popen(command) as other:
        try:
            wait_until(lambda: len(calls_of(counting_compiler)) == at_once)
            processes = {holder.pid: holder, other.pid: other}
            first = calls_of(counting_compiler)
            owner = _parent_of(first[0])
            processes[owner].send_signal(signal.SIGKILL)
            # Its compilers end with it, and the one that waited begins.
            wait_until(lambda: not any(map(is_running, first)))
            wait_until(lambda: len(calls_of(counting_compiler)) == 2 * at_once)
            (last,) = set(processes) - {owner}
            assert {_parent_of(pid) for pid in calls_of(counting_compiler)[at_once:]} == {last}
        finally:
            for process in (holder, other):
                process.kill()
    second = calls_of(counting_compiler)[at_once:]
    wait_until(lambda: not any(map(is_running, second)))


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_compilers_parts_end_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real compiler, killed at any moment: cc1plus is its child."""
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(tmp_path / "cache"))
    command = [sys.executable, "-c", BUILD.replace("-O0", "-O3"), str(build.SOURCES)]
    with subprocess.Popen(command) as process:
        try:
            wait_until(lambda: bool(_working_in(tmp_path)) or process.poll() is not None)
        finally:
            process.kill()
    wait_until(lambda: not _working_in(tmp_path))


def _working_in(folder: Path) -> list[int]:
    """Processes of cc1plus whose arguments name a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"cc1plus" in command.split(b"\0")[0] and str(folder).encode() in command:
            found.append(int(entry.name))
    return found
