"""The Triton kernels against the reference, in Triton's interpreter.

The interpreter must be chosen before Triton is imported, so the checks run in a process of their
own. To run some of them: TRITON_INTERPRET=1 pytest -c tests/kernels/triton_interpreted/pytest.ini …
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

pytestmark = [pytest.mark.triton, pytest.mark.slow]

CHECKS = Path(__file__).parent / "triton_interpreted"


@pytest.mark.timeout(300)  # some 25 s of one core, which others may share
def test_kernels_agree_with_the_reference() -> None:
    # Tiles are too small for threads, which a busy machine makes wait for each other.
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    command = [sys.executable, "-m", "pytest", "-c", str(CHECKS / "pytest.ini"), str(CHECKS)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
