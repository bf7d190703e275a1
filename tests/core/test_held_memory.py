"""What the check before loading takes a model's weights for is what they take once loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf_files import write_gguf
from mmproj_files import FOLDERS, write_mmproj
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.models import preflight
from octavo.core.models.loader import choose_kernels, load_model
from octavo.core.models.model_choice import choose_model
from octavo.core.protocol.config import ConfigError, EngineConfig
from octavo.core.registry.registry import get_registry
from quantised_checkpoints import awq_tensors, gptq_tensors, rounded, save_quantised
from safetensors.torch import load_file, save_file
from text_checkpoints import save_family
from torch import Tensor

Kind = GGMLQuantizationType
#: So that the decoder's layers are most of the weights.
SIZES = {"hidden_size": 256, "intermediate_size": 1536, "head_dim": 64}
BITSANDBYTES = {"quant_method": "bitsandbytes"}
INTEGERS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
FLOATS = {**INTEGERS, "type": "float"}
Quantise = Callable[[str, Tensor], tuple[Tensor, Mapping[str, Tensor]]]


def save_llama(folder: Path) -> Path:
    """In bfloat16, as most checkpoints are."""
    save_family(folder, "Llama", SIZES)
    file, config = folder / "model.safetensors", folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "dtype": "bfloat16"}))
    save_file({k: w.bfloat16() for k, w in load_file(file).items()}, file, {"format": "pt"})
    return folder


def grouped(method: str, bits: int, size: int) -> Quantise:
    def quantise(name: str, weight: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        made = rounded(weight, bits, np.arange(weight.shape[1]) // size)
        return weight, awq_tensors(made) if method == "awq" else gptq_tensors(made, bits)

    return quantise


def four_bits(name: str, weight: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
    """As bitsandbytes stores them; their values don't matter."""
    fields = '{"quant_type": "fp4", "blocksize": 64, "dtype": "bfloat16", "shape": [%d, %d]}'
    levels = (0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0)
    text = (fields % tuple(weight.shape)).encode()
    return weight, {
        "weight": torch.zeros(weight.numel() // 2, 1, dtype=torch.uint8),
        "weight.absmax": torch.rand(weight.numel() // 64),
        "weight.quant_map": torch.tensor([s * x / 12 for s in (1, -1) for x in levels]),
        "weight.quant_state.bitsandbytes__fp4": torch.tensor(list(text), dtype=torch.uint8),
    }


def eight_bits(name: str, weight: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
    return weight, {"weight": weight.to(torch.int8), "SCB": torch.ones(len(weight))}


def by_channel(dtype: torch.dtype) -> Quantise:
    def quantise(name: str, weight: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        return weight, {"weight": weight.to(dtype), "weight_scale": torch.ones(len(weight), 1)}

    return quantise


def in_blocks(name: str, weight: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
    scales = torch.ones(len(weight) // 64, weight.shape[1] // 64)
    return weight, {"weight": weight.to(torch.float8_e4m3fn), "weight_scale_inv": scales}


def compressed(weights: Mapping[str, Any], layout: str) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": dict(weights)}
    groups = {"config_groups": {"group_0": group}, "ignore": ["lm_head"]}
    return {"quant_method": "compressed-tensors", "format": layout, **groups}


def held_and_loaded(model: Path, dtype: str, quantization: str | None = None) -> tuple[int, int]:
    config = EngineConfig(model=str(model), dtype=dtype, quantization=quantization)
    checkpoint, registry = find_checkpoint(config.model), get_registry()
    described = preflight._described(checkpoint)
    held = preflight.held_bytes(config, described, checkpoint, registry)
    device, torch_dtype = torch.device("cpu"), getattr(torch, dtype)
    kernels = choose_kernels(registry, device, torch_dtype)
    spec = choose_model(checkpoint.config, registry, config.model_impl)
    loaded = load_model(spec, checkpoint, registry, device, torch_dtype, kernels, quantization)
    return held, loaded.weight_bytes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("settings", "quantise"),
    [
        ({**BITSANDBYTES, "load_in_4bit": True}, four_bits),
        ({**BITSANDBYTES, "load_in_8bit": True}, eight_bits),
        ({"quant_method": "awq", "group_size": 64}, grouped("awq", 4, 64)),
        ({"quant_method": "gptq", "bits": 2, "group_size": 128}, grouped("gptq", 2, 128)),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, grouped("gptq", 4, 128)),
        ({"quant_method": "gptq", "bits": 8, "group_size": 32}, grouped("gptq", 8, 32)),
        (compressed(INTEGERS, "int-quantized"), by_channel(torch.int8)),
        (compressed(FLOATS, "float-quantized"), by_channel(torch.float8_e4m3fn)),
        ({"quant_method": "fp8", "weight_block_size": [64, 64]}, in_blocks),
    ],
    ids=lambda given: str(given.get("quant_method", "")) if isinstance(given, dict) else "",
)
def test_quantised_checkpoints(
    settings: dict[str, Any], quantise: Quantise, dtype: str, tmp_path: Path
) -> None:
    _, stored = save_quantised(tmp_path, settings, quantise, save_llama)
    held, loaded = held_and_loaded(stored, dtype)
    assert 0.85 * loaded <= held <= loaded


@pytest.mark.parametrize("kind", [Kind.Q4_0, Kind.Q5_1, Kind.Q8_0, Kind.TQ1_0, Kind.BF16])
def test_gguf_files(kind: GGMLQuantizationType, tmp_path: Path) -> None:
    folder = save_family(tmp_path / "folder", "Llama", SIZES)
    path = write_gguf(tmp_path / "model.gguf", folder, kind=kind, tables=Kind.Q8_0)
    held, loaded = held_and_loaded(path, "float32")
    assert 0.85 * loaded <= held <= loaded


def test_a_gguf_file_with_its_projector(tmp_path: Path) -> None:
    folder = FOLDERS["qwen2-vl"](tmp_path / "folder")
    write_gguf(tmp_path / "model.gguf", folder)
    write_mmproj(tmp_path / "mmproj.gguf", folder, kind=Kind.Q8_0)
    held, loaded = held_and_loaded(tmp_path / "model.gguf", "float32")
    assert 0.85 * loaded <= held <= loaded


@pytest.mark.parametrize(("stored", "computed"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_plain_checkpoints(stored: str, computed: str, tmp_path: Path) -> None:
    folder = save_llama(tmp_path) if stored == "bfloat16" else save_family(tmp_path, "Llama", SIZES)
    held, loaded = held_and_loaded(folder, computed)
    assert 0.95 * loaded <= held <= loaded


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_plain_checkpoints_that_are_quantised(stored: str, tmp_path: Path) -> None:
    folder = save_llama(tmp_path) if stored == "bfloat16" else save_family(tmp_path, "Llama", SIZES)
    held, loaded = held_and_loaded(folder, "bfloat16", "int4")
    assert 0.5 * loaded <= held <= loaded


def test_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {**BITSANDBYTES, "load_in_4bit": True}
    _, stored = save_quantised(tmp_path, settings, four_bits, save_llama)
    config = EngineConfig(model=str(stored), device="cpu", dtype="bfloat16")
    size = (stored / "model.safetensors").stat().st_size
    monkeypatch.setattr(preflight, "available_memory", lambda: 2 * size)
    with pytest.raises(ConfigError, match=r"its weights take .* of memory, .* in files") as refused:
        preflight.preflight(config)
    assert "--quantization" not in str(refused.value)
