"""The parts of `scripts/gpu-check`, tried out without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("triton")

from octavo.bench.gpu_check.kernel_checks import run_kernel_checks
from octavo.bench.gpu_check.parity import compare_models
from octavo.bench.gpu_check.speed import measure_speed
from octavo.kernels.dispatch import OVERRIDE_VARIABLE
from text_checkpoints import save_family

pytestmark = pytest.mark.triton

SIZES = {"hidden_size": 128, "intermediate_size": 256, "max_position_embeddings": 1024}
INI = """
[pytest]
addopts = --import-mode=importlib -q -p no:cacheprovider
python_files = check_*.py
python_functions = check_*
"""
CHECKS = """
import pytest

@pytest.mark.parametrize("size", [1, 2, 3])
def check_sizes(size):
    assert size != 2

def check_device():
    import os
    assert os.environ["OCTAVO_TRITON_DEVICE"] == "cpu"
    assert os.environ["TRITON_INTERPRET"] == "1"
"""


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_family(tmp_path_factory.mktemp("text"), "Llama", SIZES))


def test_what_passed_and_failed(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "check_some.py").write_text(CHECKS)
    found = run_kernel_checks(tmp_path, "cpu", 240)
    assert found["complete"]
    assert found["checks"] == {
        "check_some.py::check_sizes": {"passed": 2, "failed": ["check_some.py::check_sizes[2]"]},
        "check_some.py::check_device": {"passed": 1, "failed": []},
    }
    assert "assert 2 != 2" in found["output"]


def test_checks_that_never_began(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "check_some.py").write_text("import nothing_of_this_name\n")
    found = run_kernel_checks(tmp_path, "cpu", 240)
    assert not found["complete"]
    assert "nothing_of_this_name" in found["output"]


def test_models_agree_and_a_wrong_product_shows(
    text_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OVERRIDE_VARIABLE, "decoder=reference,linear=reference")
    compared = compare_models("cpu", text_model, tmp_path / "exact")
    assert {name: model["agrees"] for name, model in compared.items()} == dict.fromkeys(
        ("text", "picture", "int8", "int4"), True
    )
    # The fast kernels round activations, which is a fault here.
    monkeypatch.setenv(OVERRIDE_VARIABLE, "")
    rounded = compare_models("cpu", text_model, tmp_path / "rounded")
    assert rounded["text"]["agrees"]
    assert not rounded["int4"]["agrees"]


def test_speeds_of_both(text_model: str) -> None:
    rows = measure_speed("cpu", text_model, batches=(1, 2), output_len=3)
    assert [(row["engine"], row["requests"]) for row in rows] == [
        *(("octavo", 1), ("transformers", 1)),
        *(("octavo", 2), ("transformers", 2)),
    ]
    assert all(row["first_token_ms"] > 0 and row["decode_tokens_per_s"] > 0 for row in rows)
