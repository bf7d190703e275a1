"""How long OpenMP's threads wait is chosen for whoever uses the package, before torch is there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
import octavo
octavo.SamplingParams
assert "torch" not in sys.modules
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("environment", "rounds"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_waits_are_short_unless_the_user_says_otherwise(
    environment: dict[str, str], rounds: str
) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    command = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(
        command, env=inherited | environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == rounds
