"""A GGUF file and a projector's beside it answer as the folder that they were made of does in
transformers, about pictures too."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, dequantize, quantize
from gguf_files import write_gguf
from mmproj_files import FOLDERS, write_mmproj
from octavo import LLM
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.protocol.errors import RequestError
from parity import GREEDY, Reference, check_equal, conversation
from PIL import Image

Kind = GGMLQuantizationType


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """By name, a model in Hugging Face format."""
    return cache(lambda name: FOLDERS[name](tmp_path_factory.mktemp(name)))


def pictures() -> list[Image.Image]:
    """Of unlike sizes and aspects."""
    generator = np.random.default_rng(0)
    sizes = ((60, 170), (150, 40))
    return [
        Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for height, width in sizes
    ]


def check_answers(llm: LLM, reference: Reference) -> None:
    """To a text, about one picture, and about two."""
    for count in range(3):
        messages = conversation("What is in these?", pictures()[:count])
        check_equal(llm.chat(messages, GREEDY)[0], reference.answer(messages))


def load(model: Path, **settings: str) -> LLM:
    return LLM(model, dtype="float32", kv_cache_memory=16 << 20, **settings)


@pytest.mark.parametrize("name", FOLDERS)
def test_answers(name: str, folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = folder_of(name)
    write_gguf(tmp_path / "model-F32.gguf", folder)
    write_mmproj(tmp_path / "mmproj-model-f32.gguf", folder)
    check_answers(load(tmp_path), Reference(folder))


@pytest.mark.parametrize("name", ["smolvlm", "qwen2-vl", "gemma3"])
def test_answers_of_quantised_files(
    name: str, folder_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of transformers' model with the dequantised weights; the language model stays packed. The
    reference kernels leave activations as they are, which the others round."""
    folder = folder_of(name)
    path = write_gguf(tmp_path / "model-Q4_0.gguf", folder, kind=Kind.Q4_0, tables=Kind.Q8_0)
    write_mmproj(tmp_path / "mmproj-model-Q8_0.gguf", folder, kind=Kind.Q8_0)
    reference = Reference(folder)
    for weight_name, weight in reference.model.named_parameters():
        kind = stored_as(weight_name, weight)
        if kind is not None:
            values = dequantize(quantize(weight.detach().numpy(), kind), kind)
            weight.data = torch.from_numpy(values)
    text, pair = find_checkpoint(str(path), "none"), find_checkpoint(str(path))
    layers = pair.kept_packed.quantization_config["layers"]
    alone = text.kept_packed.quantization_config["layers"]
    assert layers == {f"language_model.{name}": layer for name, layer in alone.items()}
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    llm = load(tmp_path)
    assert llm._core._executor.facts.runtime.quantization == "gguf"
    check_answers(llm, reference)


def stored_as(name: str, weight: torch.Tensor) -> Kind | None:
    """None: in float32."""
    if "embed_tokens" in name or name == "lm_head.weight":
        return Kind.Q8_0
    if weight.dim() != 2 or not re.search(r"\.(layers|blocks)\.", name):
        return None
    return Kind.Q8_0 if ".vision_" in name or ".visual." in name else Kind.Q4_0


@pytest.mark.parametrize("name", ["idefics3", "qwen2-vl", "qwen2.5-vl", "gemma3"])
def test_feed_forward_layers_of_older_files(
    name: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Named the wrong way round; the weights are the same."""
    text = write_gguf(tmp_path / "model.gguf", folder_of(name))
    files = [
        write_mmproj(tmp_path / f"mmproj-{swapped}.gguf", folder_of(name), swapped=swapped)
        for swapped in (False, True)
    ]
    plain, old = (dict(find_checkpoint(str(text), str(file)).weights()) for file in files)
    assert plain.keys() == old.keys()
    assert all(torch.equal(plain[name], old[name]) for name in plain)


def test_the_config_and_the_weights_are_the_folders(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """To the bit, of a family whose weights are joined and whose names are unlike."""
    folder = folder_of("qwen2.5-vl")
    text = write_gguf(tmp_path / "model.gguf", folder)
    pair = find_checkpoint(str(text), str(write_mmproj(tmp_path / "mmproj.gguf", folder)))
    expected = Reference(folder).model.state_dict()
    weights = dict(pair.weights())
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())
    theirs = find_checkpoint(str(folder)).config
    for name in ("vision_config", "image_token_id", "vision_start_token_id", "model_type"):
        assert pair.config[name] == theirs[name]


def test_queries_keys_and_values_in_one_tensor(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = folder_of("qwen2-vl")
    text = write_gguf(tmp_path / "model.gguf", folder)
    apart = write_mmproj(tmp_path / "mmproj-apart.gguf", folder)
    joined: dict[str, Any] = {}
    for name, weight in Reference(folder).model.state_dict().items():
        found = re.fullmatch(r"model\.visual\.blocks\.(\d)\.attn\.qkv\.(weight|bias)", name)
        if found:
            joined[f"v.blk.{found[1]}.attn_qkv.{found[2]}"] = weight.numpy()
            joined |= {f"v.blk.{found[1]}.attn_{part}.{found[2]}": None for part in "qkv"}
    whole = write_mmproj(tmp_path / "mmproj-joined.gguf", folder, tensors=joined)
    one, other = (dict(find_checkpoint(str(text), str(f)).weights()) for f in (apart, whole))
    assert all(torch.equal(one[name], weight) for name, weight in other.items())


def test_a_vocabulary_that_ends_before_the_token_of_features(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Of Gemma 3, as its converter may leave it out: one that nothing writes stands for it."""
    folder = folder_of("gemma3")
    renamed = {"<image_soft_token>": "<unused0>"}
    write_gguf(tmp_path / "model.gguf", folder, renamed=renamed)
    write_mmproj(tmp_path / "mmproj.gguf", folder)
    check_answers(load(tmp_path), Reference(folder))


def test_the_language_model_alone(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Without its projector it answers texts; Qwen2-VL's, whose positions have sections, too."""
    folder = folder_of("qwen2-vl")
    write_mmproj(tmp_path / "mmproj.gguf", folder)
    llm = load(write_gguf(tmp_path / "model.gguf", folder), mmproj="none")
    messages = conversation("What is in these?", [])
    check_equal(llm.chat(messages, GREEDY)[0], Reference(folder).answer(messages))
    with pytest.raises(RequestError, match="the model takes no images"):
        llm.chat(conversation("What is this?", pictures()[:1]), GREEDY)
