"""What is refused before torch is imported, by a real process, and what it says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from octavo.app import DEMO_MODEL

#: Runs a command line; then says whether torch was imported on the way.
RUN = """
import sys
from octavo.__main__ import main
status = main(sys.argv[1:])
print("torch" in sys.modules)
sys.exit(status)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(DEMO_MODEL, folder)
    return folder


def refusal(*arguments: object) -> str:
    """The one line that `octavo serve` says."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, "serve", "--port=0", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "False\n"), done.stderr
    lines = [line for line in done.stderr.splitlines() if " INFO " not in line]
    assert len(lines) == 1
    return lines[0]


def test_a_grammar_backend_that_is_not_there() -> None:
    assert "'zzz'; installed: llguidance" in refusal("--structured-outputs-backend=zzz")


def test_a_folder_that_is_not_there() -> None:
    assert "neither a folder nor a GGUF file" in refusal("./no-such-model")


def test_weights_that_are_truncated(model: Path) -> None:
    weights = model / "model.safetensors"
    size = weights.stat().st_size
    with weights.open("r+b") as file:
        file.truncate(size - 1)
    said = refusal(model)
    assert f"{weights} is truncated: it has {size - 1} bytes of {size}" in said


def test_weights_whose_header_is_damaged(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0no JSON at all..")
    assert "can't be read, it may be damaged" in refusal(model)


def test_a_quantisation_method_that_nobody_brings() -> None:
    said = refusal("--quantization", "int7")
    assert "--quantization" in said
    assert "'int7'" in said
    assert "int8" in said


def test_a_rule_of_quantisation_that_no_layer_follows() -> None:
    said = refusal(DEMO_MODEL, "--quantization", "layer.0.*=none,*=int8")
    assert "quantization: layer.0.* matches none of the model's layers, such as" in said
    assert "language_model.model.layers.0.self_attn.q_proj" in said
    said = refusal(DEMO_MODEL, "--quantization", "*.down_proj=int7,*=int8")
    assert "'int7'" in said


def test_a_checkpoint_quantised_in_a_way_that_nobody_reads(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "secret"}
    (model / "config.json").write_text(json.dumps(config))
    said = refusal(model)
    assert str(model) in said
    assert "'secret'" in said


def test_an_architecture_without_a_plugin(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["architectures"] = ["Unheard"]
    (model / "config.json").write_text(json.dumps(config))
    assert "names Unheard" in refusal(model, "--model-impl", "octavo")


def test_more_memory_than_there_is_for_weights_that_are_dequantised(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (model / "config.json").write_text(json.dumps(config))
    assert "is more than there is" in refusal(model, "--kv-cache-memory=1TiB", "--device=cpu")


def test_more_memory_than_there_is() -> None:
    said = refusal("--kv-cache-memory", "1TiB", "--device", "cpu")
    assert "kv_cache_memory 1024.0 GiB is more than there is" in said
