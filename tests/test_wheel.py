"""What `pip install` gets: every module of the folders with code, and the files that they read."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import octavo

ROOT = Path(octavo.__file__).parent
PARTS = ("app", "bench", "core", "kernels", "plugin", "plugins")
FILES = ("__init__.py", "__main__.py", "py.typed")
BUILD = ("LICENSE", "README.md", "pyproject.toml", "setup.py")


def test_it_holds_every_file_and_no_other(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for part in PARTS:
        copytree(ROOT / part, source / part, ignore=ignore_patterns("__pycache__"))
    for name in (*FILES, *BUILD):
        copy(ROOT / name, source)
    for kernels in ("cpu", "resize"):  # as scripts/build-wheels puts there
        (source / "kernels" / kernels / "prebuilt").mkdir()
        (source / "kernels" / kernels / "prebuilt" / "compiled.so").touch()
    wanted = {path.relative_to(source) for part in PARTS for path in (source / part).rglob("*.*")}
    wanted |= {Path(name) for name in FILES}
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    held = {name.relative_to("octavo") for name in names if name.parts[0] == "octavo"}
    assert held == {path for path in wanted if not (source / path).is_dir()}
