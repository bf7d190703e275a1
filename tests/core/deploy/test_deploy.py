"""Automatic deployment answers as transformers does, whatever the architecture, or says why not."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from octavo import LLM, SamplingParams
from octavo.core.protocol.config import ConfigError
from octavo.core.registry.registry import UnsupportedModelError
from parity import check_parity
from PIL import Image
from safetensors.torch import load_file, save_file
from serving import chat, running_server
from text_checkpoints import OTHER_TEXT_MODELS, TEXT_MODELS, save_family, save_text_model
from transformers import Idefics3Processor
from vision_checkpoints import VISION_MODELS


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_text_model_without_its_plugin(
    name: str, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    folder = save_text_model(tmp_path, name)
    check_parity(folder, pictures, chunk=23, model_impl="transformers")


@pytest.mark.parametrize("name", VISION_MODELS)
def test_vision_model_without_its_plugin(
    name: str, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    save, chunk = VISION_MODELS[name]
    check_parity(save(tmp_path), pictures, chunk, model_impl="transformers")


def test_the_server_serves_transformers_model(tmp_path: Path) -> None:
    """Its prompts are then the processor's, and its model transformers'."""
    save, _ = VISION_MODELS["idefics3"]
    folder = save(tmp_path)
    own = LLM(folder, dtype="float32", kv_cache_memory=2**24)
    params = SamplingParams(temperature=0, max_tokens=6)
    expected = own.chat([{"role": "user", "content": "Hello"}], params)[0].outputs[0].text
    options = ("--model-impl", "transformers", "--dtype", "float32", "--kv-cache-memory", "16MiB")
    with running_server(str(folder), *options) as url:
        answer = chat(url, temperature=0, max_tokens=6).json()
    assert answer["choices"][0]["message"]["content"] == expected


@pytest.mark.parametrize("name", OTHER_TEXT_MODELS)
def test_text_model_that_no_plugin_serves(
    name: str, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    check_parity(save_text_model(tmp_path, name), pictures, chunk=23)


def test_the_log_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_text_model(tmp_path / "olmo2", "olmo2")
    save_text_model(tmp_path / "llama", "llama")
    with caplog.at_level(logging.INFO, "octavo"):
        LLM(tmp_path / "llama", kv_cache_memory=2**24)
        assert "deployed automatically" not in caplog.text
        LLM(tmp_path / "olmo2", kv_cache_memory=2**24)
    assert caplog.text.count("no plugin serves Olmo2ForCausalLM: it is deployed automatically") == 1


def test_model_impl_octavo_takes_plugins_alone(tmp_path: Path) -> None:
    save_text_model(tmp_path, "olmo2")
    with pytest.raises(UnsupportedModelError, match=r"Olmo2ForCausalLM, which no installed plugin"):
        LLM(tmp_path, model_impl="octavo")
    with pytest.raises(ConfigError, match="model_impl must be one of auto, octavo, transformers"):
        LLM(tmp_path, model_impl="vllm")


#: Models that can't be served this way, and what is said about them.
UNFIT: dict[str, tuple[str, dict[str, Any], str]] = {
    "no attention": ("Mamba", {}, "whose attention transformers can exchange; MambaModel is none"),
    "attention of its own": ("Bloom", {}, "BloomModel is none"),
    "attention sinks": ("GptOss", {"num_local_experts": 4}, "attention sinks, which the paged"),
    "growing rope": (
        "Olmo2",
        {
            "original_max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "longrope",
                "short_factor": [1.0] * 8,
                "long_factor": [2.0] * 8,
            },
        },
        "rope_type 'longrope' changes with the length",
    ),
    "other heads in other layers": (
        "Gemma4",
        {"layer_types": ["sliding_attention", "full_attention"], "hidden_size_per_layer_input": 0},
        "don't all keep the same keys and values",
    ),
    # Its linear attention keeps a state, which nothing but the answers gives away.
    "state beside the cache": (
        "MiniMax",
        {"num_local_experts": 2, "layer_types": ["full_attention", "linear_attention"]},
        "answers other than in transformers",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_unfit_models_are_refused(case: str, tmp_path: Path) -> None:
    family, settings, message = UNFIT[case]
    save_family(tmp_path, family, settings)
    with pytest.raises(ConfigError, match=message):
        LLM(tmp_path, kv_cache_memory=2**24, dtype="float32")


def test_a_processor_that_writes_elsewhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, _ = VISION_MODELS["idefics3"]
    save(tmp_path)
    plain = Idefics3Processor.__call__

    def wordy(self: Any, *args: Any, text: list[str], **options: Any) -> Any:
        return plain(self, *args, text=[f"Look: {words}" for words in text], **options)

    monkeypatch.setattr(Idefics3Processor, "__call__", wordy)
    with pytest.raises(ConfigError, match="Idefics3Processor adds more to a prompt than its"):
        LLM(tmp_path, kv_cache_memory=2**24, model_impl="transformers")


def test_missing_weights_are_named(tmp_path: Path) -> None:
    save_text_model(tmp_path, "olmo2")
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"1 weights are missing, such as model\.norm\.weight"):
        LLM(tmp_path)


def test_unknown_architectures_are_named(tmp_path: Path) -> None:
    save_text_model(tmp_path, "olmo2")
    config = json.loads((tmp_path / "config.json").read_text())
    for architecture in ("Olmo2Model", "Nobody"):
        config["architectures"] = [architecture]
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(UnsupportedModelError, match=f"{architecture}.*transformers either"):
            LLM(tmp_path)
