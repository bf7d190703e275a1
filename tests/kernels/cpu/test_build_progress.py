"""What is said while kernels compile: by the log, or on the error output where there is none."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from octavo.kernels.cpu.build import build_library
from octavo.kernels.cpu.isa import LEVELS
from octavo.kernels.spec import KernelError

BUILD = """
import sys
from pathlib import Path
from octavo.kernels.cpu.build import build_library
from octavo.kernels.cpu.isa import LEVELS
build_library(LEVELS[-1], (), Path(sys.argv[1]))
"""
LOGGING = "import logging\nlogging.basicConfig(level='INFO', format='%(levelname)s %(message)s')\n"


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files that compile in no time."""
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "small" / "src"
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        (folder / f"{name}.cpp").write_text(f"int {name}() {{ return 1; }}\n")
    return folder


def said(code: str, sources: Path) -> list[str]:
    command = [sys.executable, "-c", code, str(sources)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout == ""
    return run.stderr.splitlines()


def written_to(reader: int) -> bytes:
    """All that a terminal was sent, which it gives in pieces; nobody has its other end open."""
    pieces = []
    with suppress(OSError):  # as Linux says that there is no more
        while piece := os.read(reader, 2**16):
            pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize(("before", "level"), [("", ""), (LOGGING, "INFO ")], ids=["bare", "log"])
def test_it_is_said_before_and_after_and_only_once(sources: Path, before: str, level: str) -> None:
    begins, ends = said(before + BUILD, sources)
    assert begins.startswith(f"{level}compiling small kernels for baseline")
    assert ends.startswith(f"{level}compiled small kernels for baseline in ")
    assert said(before + BUILD, sources) == []


def test_a_terminal_counts_the_files(sources: Path) -> None:
    reader, writer = pty.openpty()
    subprocess.run([sys.executable, "-c", BUILD, str(sources)], stderr=writer, check=True)
    os.close(writer)
    shown = written_to(reader).decode()
    os.close(reader)
    assert [shown.count(f"\r{done} of 2 files compiled") for done in range(3)] == [1, 1, 1]
    # The line is cleared before the next one.
    assert "\r\x1b[Kcompiled small kernels" in shown


def test_an_error_is_the_compilers_first(sources: Path) -> None:
    (sources / "two.cpp").write_text("#warning odd\nint two() { return three; }\nint x = four;\n")
    with pytest.raises(KernelError, match="small kernels for baseline: ") as caught:
        build_library(LEVELS[-1], (), sources)
    message = str(caught.value)
    assert "two.cpp:2" in message
    assert "three" in message
    assert "four" not in message
    assert "\n" not in message
