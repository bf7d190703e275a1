"""Checkpoints of bitsandbytes, made by its formats' definitions: answers are those of the same
weights, plain."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from octavo import LLM
from octavo.core.protocol.config import ConfigError
from parity import GREEDY, Reference, check_equal, conversation, conversations
from PIL import Image
from quantised_checkpoints import save_quantised
from safetensors.torch import load_file, save_file
from torch import Tensor
from vision_checkpoints.llava import save_llava

NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
FP4 = tuple(
    sign * level / 12 for sign in (1, -1) for level in (0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0)
)
EIGHT = {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_threshold": 6.0}
FOUR = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_compute_dtype": "float16"}


def eight_bits(name: str, weight: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
    greatest = weight.abs().amax(1)
    data = (weight * 127 / greatest[:, None]).round()
    stored = {"weight": data.to(torch.int8), "SCB": greatest}
    layout = {"weight_format": torch.tensor(0, dtype=torch.uint8)}
    return data * greatest[:, None] / 127, {**stored, **layout}


def four_bits(
    weight: Tensor, kind: str, block: int, nested: bool, dtype: str
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Codes that are random, as any are right; blocks of values whichever row they are in."""
    generator = torch.Generator().manual_seed(weight.numel())
    levels = torch.tensor(NF4 if kind == "nf4" else FP4)
    count = weight.numel()
    codes = torch.randint(0, 16, (count + count % 2,), generator=generator)
    scales = 0.05 + 0.1 * torch.rand(-(-count // block), generator=generator)
    state = {"quant_type": kind, "blocksize": block, "dtype": dtype, "shape": list(weight.shape)}
    parts = {"quant_map": levels, "absmax": scales}
    if nested:
        steps = torch.randint(0, 256, scales.shape, generator=generator)
        table, outer = torch.linspace(-1, 1, 256), 0.05 + torch.arange(-(-len(scales) // 16)) / 1e3
        state |= {"nested_blocksize": 16, "nested_dtype": "float32", "nested_offset": 0.125}
        parts |= {"absmax": steps.byte(), "nested_quant_map": table, "nested_absmax": outer}
        scales = table[steps] * outer[torch.arange(len(steps)) // 16] + 0.125
    values = levels[codes[:count]] * scales[torch.arange(count) // block]
    text = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
    parts[f"quant_state.bitsandbytes__{kind}"] = text
    data = (codes[::2] * 16 + codes[1::2]).byte()[:, None]
    stored = {"weight": data, **{f"weight.{key}": part for key, part in parts.items()}}
    return values.view(weight.shape).to(getattr(torch, dtype)).float(), stored


def check(folder: Path, settings: Mapping[str, Any], quantise: Any) -> None:
    plain, stored = save_quantised(folder, settings, quantise)
    prompt = conversation("What is this?", [])
    answer = LLM(stored, dtype="float32", kv_cache_memory=2**24).chat(prompt, GREEDY)[0]
    check_equal(answer, Reference(plain).answer(prompt))


@pytest.mark.parametrize("tower", ["clip", "siglip"])
@pytest.mark.parametrize("bits", [4, 8])
def test_towers_projectors_and_heads(
    bits: int,
    tower: str,
    pictures: list[Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All linear layers of a model of images, those that bitsandbytes skips by default too."""
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference,encoder=reference")
    layers = r"(_proj|\.fc[12]|\.linear_[12]|(^|\.)lm_head)$"

    def quantise(name: str, weight: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        # Of codes that are as small as random weights are.
        if bits == 4:
            return four_bits(weight, "nf4", 64, True, "float32")
        return eight_bits(name, weight)

    save = partial(save_llava, tower=tower)
    settings = EIGHT if bits == 8 else {**FOUR, "bnb_4bit_quant_type": "nf4"}
    plain, stored = save_quantised(tmp_path, settings, quantise, save, layers)
    marker = "SCB" if bits == 8 else "weight.absmax"
    quantised = {name for name in load_file(stored / "model.safetensors") if marker in name}
    for part in ("vision_tower", "multi_modal_projector.linear_1", "lm_head", "language_model"):
        assert any(part in name for name in quantised)
    llm, reference = LLM(stored, dtype="float32", kv_cache_memory=2**24), Reference(plain)
    for prompt in conversations(True, pictures):
        check_equal(llm.chat(prompt, GREEDY)[0], reference.answer(prompt))


def test_eight_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    check(tmp_path, EIGHT, eight_bits)


def test_other_layouts_of_eight_bits_are_refused(tmp_path: Path) -> None:
    def tiled(name: str, weight: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        rounded, stored = eight_bits(name, weight)
        return rounded, {**stored, "weight_format": torch.tensor(2, dtype=torch.uint8)}

    _, stored = save_quantised(tmp_path, EIGHT, tiled)
    with pytest.raises(ConfigError, match=r"weight_format 2 is not supported"):
        LLM(stored, dtype="float32", kv_cache_memory=2**24)


@pytest.mark.parametrize(
    ("kind", "block", "nested", "dtype"),
    [
        ("nf4", 64, False, "float32"),
        ("nf4", 200, True, "bfloat16"),
        ("fp4", 4096, False, "float16"),
    ],
)
def test_four_bits(
    kind: str, block: int, nested: bool, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    settings = {**FOUR, "bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": nested}
    check(tmp_path, settings, lambda _, weight: four_bits(weight, kind, block, nested, dtype))


def test_damaged_tensors_are_named(tmp_path: Path) -> None:
    _, stored = save_quantised(
        tmp_path, FOUR, lambda _, weight: four_bits(weight, "fp4", 64, False, "float32")
    )
    file, weight = stored / "model.safetensors", "model.layers.1.mlp.up_proj.weight"
    tensors, state = load_file(file), "quant_state.bitsandbytes__fp4"

    def fails(message: str, part: str, tensor: Tensor | None) -> None:
        named = {**tensors, f"{weight}.{part}": tensor}
        save_file({k: v for k, v in named.items() if v is not None}, file, {"format": "pt"})
        with pytest.raises(ConfigError, match=message):
            LLM(stored, dtype="float32", kv_cache_memory=2**24)

    fails(rf"{weight}\.absmax is missing", "absmax", None)
    fails(rf"{weight}\.absmax has 3 numbers", "absmax", torch.ones(3))
    fails(rf"{weight}\.quant_map doesn't have the levels of fp4", "quant_map", torch.ones(16))
    fails(rf"{weight} needs one of .* there is none", state, None)
    fails(rf"{weight}\.{state} is no JSON", state, torch.tensor([123, 34], dtype=torch.uint8))
    fails(rf"{weight}\.other is not supported", "other", torch.ones(1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**FOUR, "bnb_4bit_quant_type": "af4"}, "bnb_4bit_quant_type 'af4' is not supported"),
        ({**EIGHT, "llm_int8_has_fp16_weight": True}, "llm_int8_has_fp16_weight True"),
        ({**EIGHT, "load_in_4bit": True}, "either load_in_8bit or load_in_4bit"),
        ({**EIGHT, "other": 1}, "its quantization_config has other"),
    ],
)
def test_settings_that_are_not_followed(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    _, stored = save_quantised(tmp_path, settings, eight_bits)
    with pytest.raises(ConfigError, match=f"bitsandbytes can't take .*{message}"):
        LLM(stored, dtype="float32", kv_cache_memory=2**24)
