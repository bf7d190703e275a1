"""A deployed model answers as transformers does about pictures and long texts too, or is refused
by the name of what isn't served; what agreed once is remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from octavo import LLM
from octavo.__main__ import main
from octavo.core.auto_deploy import verdicts
from octavo.core.auto_deploy.check import Check
from octavo.core.deploy.deployed_vision_model import DeployedVisionModel
from octavo.core.deploy.processor_images import ProcessorImagePrompt
from octavo.core.protocol.config import ConfigError
from parity import check_parity
from PIL import Image
from text_checkpoints import save_family, save_text_model
from transformers import Idefics3Processor
from vision_checkpoints import VISION_MODELS
from vision_checkpoints.deepstack import REFUSED, save_qwen3_vl

LLAMA4: dict[str, Any] = {
    "intermediate_size_mlp": 96,
    "num_local_experts": 2,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 2,
    "attn_temperature_tuning": False,
    "attention_chunk_size": 8,
}


@pytest.mark.parametrize("name", REFUSED)
def test_pictures_that_reach_later_layers(name: str, tmp_path: Path) -> None:
    """Also in a model that is quantised, whose logits are not compared in the end."""
    save, part = REFUSED[name]
    quantization = "int8" if name == "qwen3-vl" else None
    with pytest.raises(ConfigError, match=f"its tower gives {part} beside the features"):
        LLM(save(tmp_path), kv_cache_memory=2**24, quantization=quantization)


@pytest.mark.parametrize("experts", [False, True])
def test_the_same_models_without_them_are_served(
    experts: bool, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    check_parity(save_qwen3_vl(tmp_path, experts, deepstack=()), pictures, chunk=23)


@pytest.mark.parametrize("chunk", [8, 300])
def test_chunks_of_any_length_are_refused(chunk: int, tmp_path: Path) -> None:
    """300 is beyond any text that is compared: it shows in the mask alone."""
    save_family(tmp_path, "Llama4", {**LLAMA4, "attention_chunk_size": chunk})
    with pytest.raises(ConfigError, match="layer 0, chunked_attention, sees at position"):
        LLM(tmp_path, kv_cache_memory=2**24, dtype="float32")


def test_queries_that_are_scaled_by_their_place_are_refused(tmp_path: Path) -> None:
    save_family(tmp_path, "Llama4", {**LLAMA4, "attn_temperature_tuning": True})
    with pytest.raises(ConfigError, match="its attn_temperature_tuning scales queries"):
        LLM(tmp_path, kv_cache_memory=2**24, dtype="float32")


def test_a_model_that_does_not_name_its_decoder_is_refused(tmp_path: Path) -> None:
    save_family(tmp_path, "Llama4", {**LLAMA4, "layer_types": ["full_attention"] * 2})
    with pytest.raises(ConfigError, match="Llama4ForCausalLM doesn't say which part of it is the"):
        LLM(tmp_path, kv_cache_memory=2**24, dtype="float32")


@pytest.mark.parametrize("window", [40, 300])
def test_a_window_that_is_left_out_is_refused(
    window: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_family(tmp_path, "Starcoder2", {"sliding_window": window})
    LLM(tmp_path, kv_cache_memory=2**24, dtype="float32")
    monkeypatch.setattr("octavo.core.deploy.attention_masks.window_of", lambda *_: 0)
    with pytest.raises(ConfigError, match="sees at position"):
        LLM(tmp_path, kv_cache_memory=2**24, dtype="float32")


@pytest.fixture
def idefics3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose verdict nobody knows."""
    monkeypatch.setattr(verdicts, "cache_folder", lambda name: tmp_path / name)
    return VISION_MODELS["idefics3"][0](tmp_path / "model")


def _load(folder: Path, **settings: Any) -> LLM:
    options = {"dtype": "float32", "kv_cache_memory": 2**24, "model_impl": "transformers"}
    return LLM(folder, **{**options, **settings})


def test_other_features_are_refused(idefics3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = DeployedVisionModel._encode
    monkeypatch.setattr(DeployedVisionModel, "_encode", lambda *args: encode(*args) * 1.01)
    with pytest.raises(ConfigError, match=r"1 picture: features differ by 1\.0e-02 of their"):
        _load(idefics3)


def test_other_prompts_are_refused(idefics3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = ProcessorImagePrompt.complete
    monkeypatch.setattr(
        ProcessorImagePrompt,
        "complete",
        lambda self, text: complete(self, text.replace("What", "Well, what")),
    )
    with pytest.raises(ConfigError, match=r"1 picture: its prompt is of \d+ tokens for \d+"):
        _load(idefics3)


def test_other_logits_are_refused(idefics3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are equal, and go where those of the other picture belong."""
    encode = DeployedVisionModel.encode_images

    def swapped(self: Any, images: Any, layouts: Any) -> Any:
        return encode(self, images, layouts)[::-1] if len(images) > 1 else encode(
            self, images, layouts
        )  # fmt: skip

    monkeypatch.setattr(DeployedVisionModel, "encode_images", swapped)
    with pytest.raises(ConfigError, match="2 pictures: "):
        _load(idefics3)


def test_a_processor_that_raises_is_named(idefics3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(self: Any, *args: Any, **options: Any) -> str:
        raise KeyError("rows")

    monkeypatch.setattr(Idefics3Processor, "replace_image_token", raising)
    with pytest.raises(ConfigError, match="can't follow Idefics3Processor: KeyError: 'rows'"):
        _load(idefics3)


def test_a_verdict_is_remembered(
    idefics3: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until a file of the checkpoint, or what is asked for, is another one."""
    checks: list[str] = []
    plain = Check.__init__

    def counted(self: Any, deployment: Any) -> None:
        checks.append(deployment.checkpoint.name)
        plain(self, deployment)

    monkeypatch.setattr(Check, "__init__", counted)
    for _ in range(2):
        _load(idefics3)
    assert len(checks) == 1
    _load(idefics3, dtype="bfloat16")
    assert len(checks) == 2
    for file in ("preprocessor_config.json", "processor_config.json", "config.json"):
        if (idefics3 / file).exists():
            (idefics3 / file).write_text((idefics3 / file).read_text() + "\n")
            before = len(checks)
            _load(idefics3)
            assert len(checks) == before + 1
    before = len(checks)
    assert main(["deploy", str(idefics3), "--dtype", "float32"]) == 0
    assert len(checks) == before + 1, "who asks what is done gets it done"
    assert "check, pictures: 6 of 6 greedy tokens" in capsys.readouterr().out


def test_a_folder_that_can_not_be_written_to(
    idefics3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(verdicts, "cache_folder", lambda name: tmp_path / "file" / name)
    _load(idefics3)


def test_a_quantised_model_is_compared_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_text_model(tmp_path, "olmo2")
    assert main(["deploy", str(tmp_path), "--quantization", "int8", "--dtype", "float32"]) == 0
    did = capsys.readouterr().out.partition("\ndid\n")[2].splitlines()
    names = [line.partition(":")[0] for line in did[:8]]
    assert names[:3] == ["load", "attention", "fuse"]
    assert names[3].startswith("check, short texts")
    assert names[5] == "quantize"
