"""The Python that docs/offline.md prints runs, and prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import octavo
import pytest
from tiny_clip import save_clip

ROOT = Path(octavo.__file__).parent
PAGE = "docs/offline.md"
#: Each block of Python, and that of text after it, if there is one.
BLOCKS = re.findall(
    r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?",
    (ROOT / PAGE).read_text(),
    re.DOTALL | re.MULTILINE,
)
#: Those that are a program of their own, as processes that they spawn import them.
PROGRAMS = [code for code, _ in BLOCKS if "__main__" in code]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the page's reader stands: in the repository, beside a checkpoint of CLIP's."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    save_clip(tmp_path / "clip-vit-base-patch32")
    return tmp_path


def test_the_blocks_run_one_after_another_as_they_are_printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    capsys.readouterr()
    names: dict[str, object] = {}
    for number, (code, printed) in enumerate(BLOCKS):
        if code not in PROGRAMS:
            exec(compile(code, f"{PAGE}, block {number}", "exec"), names)
            said = capsys.readouterr().out
            assert not printed or said.strip() == printed.strip(), code


def test_the_program_that_spawns_processes_runs(folder: Path) -> None:
    (code,) = PROGRAMS
    program = folder / "program.py"
    program.write_text(code)
    done = subprocess.run(
        [sys.executable, program.name], capture_output=True, text=True, check=True, cwd=folder
    )
    assert "dog" in done.stdout
    assert "car" in done.stdout


def test_the_page_has_blocks() -> None:
    assert sum(bool(printed) for _, printed in BLOCKS) > 5
