"""A projector file that says more than is used, or less than is needed, or is not of its language
model, is refused by the name of what it says."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from gguf_files import write_gguf
from mmproj_files import FOLDERS, write_mmproj
from octavo import LLM
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.protocol.config import ConfigError
from octavo.core.protocol.errors import RequestError
from parity import GREEDY, conversation
from PIL import Image
from text_checkpoints import save_family

KINDS = r"idefics3, qwen2vl_merger, qwen2\.5vl_merger, gemma3"
V = "clip.vision."
ONES = np.ones(32, np.float32)

#: By what is odd: the folder, the keys, the tensors, and what the error says.
REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "a kind": (
        "smolvlm",
        {"clip.projector_type": "ultravox"},
        {},
        rf"the kind 'ultravox' are not served; known are {KINDS}",
    ),
    "no kind": ("smolvlm", {"clip.projector_type": None}, {}, "no clip.projector_type"),
    "no colours": ("smolvlm", {f"{V}image_mean": None}, {}, r"it has no clip\.vision\.image_mean"),
    "two colours": ("smolvlm", {f"{V}image_std": [0.5, 0.5]}, {}, "a list of three numbers"),
    "no contrast": ("smolvlm", {f"{V}image_std": [0.5, 0.5, 0.0]}, {}, r"image_std .*above 0"),
    "no factor": ("smolvlm", {f"{V}projector.scale_factor": None}, {}, "scale_factor"),
    "a factor": ("smolvlm", {f"{V}projector.scale_factor": 3}, {}, "4 patches a side .*3 by 3"),
    "no size": ("gemma3", {f"{V}image_size": 0}, {}, r"clip\.vision\.image_size = 0 .*above 0"),
    "a patch": ("smolvlm", {f"{V}patch_size": 7}, {}, r"v\.patch_embd\.weight .*\[32, 3, 7, 7\]"),
    "heads": ("qwen2-vl", {f"{V}attention.head_count": 5}, {}, "head_count = 5 heads"),
    "a key": (
        "smolvlm",
        {f"{V}feature_layer": [1]},
        {},
        r"clip\.vision\.feature_layer = \[1\] is not supported",
    ),
    "sound": ("smolvlm", {"clip.has_audio_encoder": True}, {}, "has_audio_encoder = True"),
    "an activation": ("gemma3", {"clip.use_gelu": False}, {}, r"use_gelu = False.*with True"),
    "another one": ("qwen2-vl", {"clip.use_silu": True}, {}, r"use_silu = True.*with False"),
    "a norm": (
        "qwen2.5-vl",
        {f"{V}attention.layer_norm_epsilon": 1e-5},
        {},
        r"layer_norm_epsilon = .*with 1e-06",
    ),
    "no windows": ("qwen2.5-vl", {f"{V}n_wa_pattern": None}, {}, r"no clip\.vision\.n_wa_pattern"),
    "blocks": ("smolvlm", {f"{V}block_count": 4}, {}, r"block_count = 4, but .* 3 blocks"),
    "limits": ("qwen2-vl", {f"{V}image_max_pixels": 99}, {}, "= 3136 is above .* = 99"),
    "too many": ("smolvlm", {f"{V}block_count": 2**31 - 1}, {}, r"block_count = 2147483647, but"),
    "a width": (
        "smolvlm",
        {f"{V}projection_dim": 96},
        {},
        r"projection_dim = 96, but mm\.model\.fc\.weight gives 64",
    ),
    "a whole width": (
        "qwen2-vl",
        {f"{V}projection_dim": 96},
        {"mm.2.weight": np.ones((96, 128)), "mm.2.bias": np.ones(96)},
        r"mm\.2\.weight gives vectors of 96, .* takes 64 \(qwen2vl\.embedding_length\)",
    ),
    "pooling": ("gemma3", {f"{V}projector.scale_factor": 3}, {}, "4 patches a side"),
    "a type": ("smolvlm", {"general.type": "model"}, {}, r"general\.type = 'model'"),
    "a tensor": (
        "smolvlm",
        {},
        {"v.blk.0.ls1.weight": ONES},
        r"no use for 1 of its tensors, such as v\.blk\.0\.ls1\.weight",
    ),
    "no tensor": ("smolvlm", {}, {"v.blk.2.attn_k.bias": None}, r"no tensor v\.blk\.2\.attn_k\.b"),
    "no matrix": ("gemma3", {}, {"mm.input_projection.weight": ONES}, r"projection\.weight .*mat"),
    "squares": (
        "smolvlm",
        {},
        {f"v.blk.0.ffn_{name}.weight": np.ones((32, 32)) for name in ("up", "down")},
        r"v\.blk\.0\.ffn_up\.weight is square",
    ),
}
#: By a family: a tensor of each of its layers.
TENSORS = {
    "smolvlm": [
        *("v.patch_embd.bias", "v.position_embd.weight", "v.blk.1.ln1.weight", "v.post_ln.bias"),
        *("v.blk.2.attn_out.weight", "v.blk.0.ffn_up.bias", "mm.model.fc.weight"),
    ],
    "qwen2-vl": [
        *("v.patch_embd.weight.1", "v.blk.0.ln2.bias", "v.blk.1.attn_v.bias", "mm.0.weight"),
        *("v.blk.0.ffn_down.bias", "v.post_ln.weight", "mm.2.bias"),
    ],
    "qwen2.5-vl": ["v.blk.0.ffn_gate.weight", "v.blk.1.ffn_down.weight", "v.blk.1.ln1.weight"],
    "gemma3": ["mm.soft_emb_norm.weight", "mm.input_projection.weight"],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By name, a model in Hugging Face format, with its language model's file."""
    made = {}
    for name in ("smolvlm", "qwen2-vl", "qwen2.5-vl", "gemma3"):
        made[name] = FOLDERS[name](tmp_path_factory.mktemp(name))
        write_gguf(made[name] / "model.gguf", made[name])
    return made


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_used_is_named(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    family, keys, tensors, message = REFUSED[name]
    folder = folders[family]
    mmproj = write_mmproj(tmp_path / "mmproj-odd.gguf", folder, keys, tensors)
    with pytest.raises(ConfigError, match=rf"mmproj-odd\.gguf: .*{message}"):
        find_checkpoint(str(folder / "model.gguf"), str(mmproj))


@pytest.mark.parametrize(
    ("family", "tensor"), [(family, tensor) for family in TENSORS for tensor in TENSORS[family]]
)
def test_a_tensor_of_another_shape(
    family: str, tensor: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    """One more in its last dimension."""
    folder = folders[family]
    text = str(folder / "model.gguf")
    plain = GGUFReader(write_mmproj(tmp_path / "mmproj.gguf", folder))
    (shape,) = (t.data.shape for t in plain.tensors if t.name == tensor)
    wider = {tensor: np.ones((*shape[:-1], shape[-1] + 1))}
    mmproj = str(write_mmproj(tmp_path / "mmproj-odd.gguf", folder, tensors=wider))
    with pytest.raises(ConfigError, match=rf"mmproj-odd\.gguf: .*{re.escape(tensor)} "):
        find_checkpoint(text, mmproj)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.999])
def test_a_truncated_file(share: float, folders: dict[str, Path], tmp_path: Path) -> None:
    whole = write_mmproj(tmp_path / "mmproj.gguf", folders["smolvlm"]).read_bytes()
    cut = tmp_path / "mmproj-cut.gguf"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ConfigError, match=r"mmproj-cut\.gguf"):
        find_checkpoint(str(folders["smolvlm"] / "model.gguf"), str(cut))


def test_damaged_bytes_are_refused_or_change_only_values(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """A byte that is changed before the tensors' values raises nothing but ConfigError."""
    whole = bytearray(write_mmproj(tmp_path / "mmproj.gguf", folders["qwen2.5-vl"]).read_bytes())
    text = str(folders["qwen2.5-vl"] / "model.gguf")
    generator = np.random.default_rng(0)
    damaged = tmp_path / "mmproj-damaged.gguf"
    refusals = []
    for place in generator.integers(0, whole.index(b"mm.2.bias"), 40):
        changed = whole.copy()
        changed[place] ^= 1 << int(generator.integers(8))
        damaged.write_bytes(changed)
        refusals += refusal(text, str(damaged))
    assert len(refusals) > 20
    assert all(damaged.name in message for message in refusals)


def refusal(model: str, mmproj: str) -> list[str]:
    """What the error says; nothing if there is none."""
    try:
        find_checkpoint(model, mmproj)
    except ConfigError as error:
        return [str(error)]
    return []


def test_keys_that_change_nothing_are_taken(folders: dict[str, Path], tmp_path: Path) -> None:
    """Those of older converters, too; and a size that all released models have alike."""
    folder = folders["smolvlm"]
    keys = {
        "general.type": "clip-vision",
        "clip.has_text_encoder": False,
        "clip.has_llava_projector": True,
        f"{V}preproc_image_size": None,
    }
    file = write_mmproj(tmp_path / "mmproj.gguf", folder, keys)
    checkpoint = find_checkpoint(str(folder / "model.gguf"), str(file))
    assert checkpoint.image_processor_config["size"] == {"longest_edge": 4 * 32}
    keys = {f"{V}image_min_pixels": 128, f"{V}image_max_pixels": 4096, f"{V}window_size": 16}
    folder = folders["qwen2.5-vl"]
    file = write_mmproj(tmp_path / "mmproj.gguf", folder, keys)
    checkpoint = find_checkpoint(str(folder / "model.gguf"), str(file))
    assert checkpoint.image_processor_config["size"] == {"shortest_edge": 128, "longest_edge": 4096}
    assert checkpoint.config["vision_config"]["window_size"] == 16


def test_files_of_different_models(folders: dict[str, Path], tmp_path: Path) -> None:
    mmproj = write_mmproj(tmp_path / "mmproj-b.gguf", folders["smolvlm"])
    text = write_gguf(tmp_path / "a.gguf", save_family(tmp_path / "folder", "Llama", {}))
    with pytest.raises(ConfigError, match=r"a\.gguf: .*has no <fake_token_around_image>"):
        find_checkpoint(str(text), str(mmproj))
    qwen = write_mmproj(tmp_path / "mmproj-c.gguf", folders["qwen2-vl"])
    message = r"mmproj-c\.gguf: .* of the architecture 'qwen2vl', and this one is of 'llama'"
    with pytest.raises(ConfigError, match=message):
        find_checkpoint(str(folders["smolvlm"] / "model.gguf"), str(qwen))


@pytest.mark.parametrize("sections", [[2, 3, 4, 0], [2, 3, 2, 1], [8], None])
def test_sections_of_positions(
    sections: list[int] | None, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = folders["qwen2-vl"]
    text = write_gguf(tmp_path / "a.gguf", folder, sections=sections)
    mmproj = write_mmproj(tmp_path / "mmproj.gguf", folder)
    with pytest.raises(ConfigError, match=r"a\.gguf: .*qwen2vl\.rope\.dimension_sections"):
        find_checkpoint(str(text), str(mmproj))


def test_files_in_each_other_s_place(folders: dict[str, Path], tmp_path: Path) -> None:
    text = str(folders["smolvlm"] / "model.gguf")
    mmproj = str(write_mmproj(tmp_path / "mmproj.gguf", folders["smolvlm"]))
    with pytest.raises(ConfigError, match=r"is a vision projector.*by --mmproj"):
        find_checkpoint(mmproj)
    with pytest.raises(ConfigError, match=r"no vision projector: its general\.architecture is 'l"):
        find_checkpoint(text, text)


def test_transformers_model_has_no_processor(folders: dict[str, Path], tmp_path: Path) -> None:
    mmproj = write_mmproj(tmp_path / "mmproj.gguf", folders["smolvlm"])
    with pytest.raises(ConfigError, match="no processor of pictures for GGUF files"):
        LLM(folders["smolvlm"] / "model.gguf", mmproj=str(mmproj), model_impl="transformers")


def test_signs_of_other_files_are_told(
    folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A template that shows no pictures, and another model's name."""
    folder = folders["qwen2-vl"]
    template = "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"
    keys = {"general.basename": "One"}
    text = write_gguf(tmp_path / "model.gguf", folder, keys, chat_template=template)
    mmproj = write_mmproj(tmp_path / "mmproj.gguf", folder, {"general.basename": "Other"})
    with caplog.at_level(logging.WARNING):
        llm = LLM(text, mmproj=str(mmproj), dtype="float32", kv_cache_memory=8 << 20)
    assert "template in model.gguf doesn't write <|image_pad|>" in caplog.text
    assert "general.basename in model.gguf is 'One', and in mmproj.gguf 'Other'" in caplog.text
    assert llm.chat(conversation("What?", []), GREEDY)[0].outputs[0].token_ids
    with pytest.raises(RequestError, match="0 image placeholders for 1 images"):
        llm.chat(conversation("What?", [Image.new("RGB", (60, 60))]), GREEDY)
