"""The checks of operations again, compiled to notice every access beyond memory that is allocated.

OCTAVO_TEST_KERNEL_FLAGS may ask for more by hand: -fsanitize=undefined takes a minute to compile.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cpu_kernels.levels import OWN, build_level
from octavo.kernels.cpu.compiler import find_compiler

FLAGS = ("-Og", "-fsanitize=address")
CHECKS = "products or exactly or several or test_attention or odd or own_way or gated or families"


@pytest.mark.slow
def test_no_access_beyond_memory(test_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, _ = find_compiler()
    asked = [compiler, "-print-file-name=libasan.so"]
    runtime = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(runtime).is_file():
        pytest.skip("the compiler has no AddressSanitizer")
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(test_cache))
    build_level(OWN, FLAGS)
    environment = os.environ | {
        "OCTAVO_TEST_KERNEL_FLAGS": " ".join(FLAGS),
        # Without the latter it can't follow exceptions of libraries that come later.
        "LD_PRELOAD": f"{runtime} libstdc++.so.6",
        # Python itself frees little at its end.
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    folder = Path(__file__).parent
    files = map(str, sorted(folder.glob("test_[adelm]*.py")))
    command = [sys.executable, "-m", "pytest", f"--confcutdir={folder}", "-s", "-q"]
    chosen = ("-k", f"own- and ({CHECKS})")
    run = subprocess.run(
        [*command, *chosen, *files], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
