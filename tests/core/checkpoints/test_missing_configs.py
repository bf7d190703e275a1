"""What a checkpoint must say for itself is not made up: without the file, it is refused before a
server's port opens."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest
import torch
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.embedding.hugging_face_embedder import HuggingFaceEmbedder
from octavo.core.prompts.input_processor import InputProcessor
from octavo.core.protocol.config import ConfigError
from octavo.core.registry.registry import get_registry
from text_checkpoints import save_family
from tiny_clip import save_clip
from transformers import AutoProcessor
from vision_checkpoints import VISION_MODELS

CONFIGS = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
CHAT = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]


def make_inputs(folder: Path, model_impl: str = "auto") -> InputProcessor:
    """What a server makes before its port opens."""
    return InputProcessor(find_checkpoint(str(folder)), get_registry(), model_impl=model_impl)


@pytest.fixture(scope="module", params=sorted(VISION_MODELS))
def vision_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return VISION_MODELS[request.param][0](folder)


@pytest.mark.parametrize("model_impl", ["octavo", "transformers"])
def test_without_an_image_processor(vision_model: Path, model_impl: str, tmp_path: Path) -> None:
    folder = copytree(vision_model, tmp_path / "bare")
    for name in CONFIGS:
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(OSError, match=r"preprocessor_config\.json"):
        AutoProcessor.from_pretrained(folder)
    with pytest.raises(ConfigError, match=r"preprocessor_config\.json"):
        make_inputs(folder, model_impl)


def test_a_processor_without_its_image_part(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = copytree(checkpoints["demo"], tmp_path / "demo")
    path = folder / "processor_config.json"
    processor = json.loads(path.read_text())
    images = processor.pop("image_processor")
    path.write_text(json.dumps(processor))
    with pytest.raises(ConfigError, match=r"no preprocessor_config\.json in .*demo"):
        make_inputs(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    make_inputs(folder)
    path.write_text(json.dumps({**processor, "image_processor": []}))
    with pytest.raises(ConfigError, match=r"image_processor in .* is no object"):
        make_inputs(folder)


def test_an_embedder_without_an_image_processor(tmp_path: Path) -> None:
    folder = save_clip(tmp_path)
    checkpoint = find_checkpoint(str(folder))
    HuggingFaceEmbedder(checkpoint, torch.device("cpu"), torch.float32)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ConfigError, match=r"preprocessor_config\.json"):
        HuggingFaceEmbedder(checkpoint, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Gemma2"])
def test_without_a_vocabulary(family: str, tmp_path: Path) -> None:
    """transformers makes some tokenizers without one, which read a text as nothing."""
    folder = save_family(tmp_path, family, {})
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="no usable tokenizer"):
        make_inputs(folder)


def test_a_chat_template_of_the_processor(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """In the older file that tokenizers don't read."""
    folder = copytree(checkpoints["demo"], tmp_path / "demo")
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    other = template + "Briefly: "
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": other}))
    processor = AutoProcessor.from_pretrained(folder)
    expected = processor.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert expected.endswith("Briefly: ")
    inputs = make_inputs(folder)
    ids = inputs.encode_chat(CHAT)
    assert ids == processor.tokenizer(expected, add_special_tokens=False)["input_ids"]
