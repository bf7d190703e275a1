"""Checkpoints of the compressed-tensors library: answers are those of what it makes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from octavo import LLM
from octavo.core.protocol.config import ConfigError
from parity import GREEDY, Reference, check_equal, conversation
from quantised_checkpoints import save_quantised
from torch import Tensor

compressors = pytest.importorskip("compressed_tensors.compressors")
quantization = pytest.importorskip("compressed_tensors.quantization")
packing = pytest.importorskip("compressed_tensors.compressors.pack_quantized.helpers")
qparams = pytest.importorskip("compressed_tensors.quantization.utils")

INT4 = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 64}
INT8 = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
FLOAT = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}
BLOCKS = {**FLOAT, "strategy": "block", "block_structure": [64, 32]}
PACKED, BYTES, FLOATS = "pack-quantized", "int-quantized", "float-quantized"
DYNAMIC = {**INT8, "strategy": "token", "dynamic": True}


def settings_of(weights: Mapping[str, Any], layout: str, **more: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": dict(weights), "input_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": layout,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
        **more,
    }


def save(folder: Path, settings: Mapping[str, Any]) -> tuple[Path, Path]:
    """See save_quantised; by the library."""
    group = next(iter(settings["config_groups"].values()))
    args = quantization.QuantizationArgs(**group["weights"])
    scheme = quantization.QuantizationScheme(targets=["Linear"], weights=args)
    library = compressors.BaseCompressor.get_value_from_registry(settings["format"])

    def quantise(name: str, weight: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        scale, zero = qparams.calculate_qparams(*bounds(weight, args), args)
        state = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
        stored = library.compress(state, scheme)
        return library.decompress(stored, scheme)["weight"].float(), stored

    return save_quantised(folder, settings, quantise)


def bounds(weight: Tensor, args: Any) -> tuple[Tensor, Tensor]:
    """The least and the greatest value of what shares a scale."""
    outputs, inputs = weight.shape
    if args.strategy == "tensor":
        return weight.min().view(1), weight.max().view(1)
    rows, columns = args.block_structure or (1, args.group_size or inputs)
    blocks = weight.view(outputs // rows, rows, inputs // columns, columns)
    return blocks.amin((1, 3)), blocks.amax((1, 3))


@pytest.mark.parametrize(
    ("weights", "layout"),
    [
        (INT4, PACKED),
        ({**INT4, "group_size": 32, "symmetric": False}, PACKED),
        ({**INT4, "strategy": "channel", "group_size": None, "symmetric": False}, PACKED),
        ({**INT4, "num_bits": 8}, PACKED),
        (INT8, BYTES),
        ({**INT8, "strategy": "tensor"}, BYTES),
        ({**INT8, "symmetric": False}, BYTES),
        (FLOAT, FLOATS),
        ({**FLOAT, "strategy": "tensor"}, FLOATS),
        (BLOCKS, FLOATS),
    ],
    ids=str,
)
def test_answers_are_those_of_the_same_weights(
    weights: dict[str, Any], layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fast kernels round activations, too; what they make of each format is checked elsewhere.
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    plain, stored = save(tmp_path, settings_of(weights, layout))
    llm = LLM(stored, dtype="float32", kv_cache_memory=2**24)
    prompt = conversation("What is this?", [])
    check_equal(llm.chat(prompt, GREEDY)[0], Reference(plain).answer(prompt))


def test_layers_may_be_chosen_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    plain, stored = save(tmp_path, settings_of(INT8, BYTES))
    config = json.loads((stored / "config.json").read_text())
    groups = {
        "other": {"targets": ["Linear"], "weights": FLOAT, "format": FLOATS},
        "named": {"targets": ["re:.*_proj$"], "weights": INT8, "input_activations": DYNAMIC},
    }
    config["quantization_config"] |= {"config_groups": groups, "format": "mixed-precision"}
    config["quantization_config"]["config_groups"]["named"]["format"] = BYTES
    (stored / "config.json").write_text(json.dumps(config))
    llm = LLM(stored, dtype="float32", kv_cache_memory=2**24)
    prompt = conversation("What is this?", [])
    check_equal(llm.chat(prompt, GREEDY)[0], Reference(plain).answer(prompt))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kv_cache_scheme": FLOAT}, "kv_cache_scheme"),
        ({"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparsity_config of 'sparse-24-bit"),
        (
            {"format": "marlin-24"},
            "format 'marlin-24' is not supported, but None, 'pack-quantized'",
        ),
        ({"transform_config": {"config_groups": {"u": {}}}}, "transform_config"),
        ({"config_groups": {"W4A16": ["Linear"]}}, "config_groups by the name of a preset"),
        ({"smoothing": 1}, "its quantization_config has smoothing, which is not supported"),
    ],
)
def test_settings_that_are_not_followed(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    _, stored = save(tmp_path, settings_of(INT8, BYTES))
    config = json.loads((stored / "config.json").read_text())
    config["quantization_config"] |= changed
    (stored / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=f"compressed-tensors can't take .*{message}"):
        LLM(stored, dtype="float32", kv_cache_memory=2**24)


@pytest.mark.parametrize(
    ("weights", "activations", "message"),
    [
        ({**INT8, "num_bits": 3}, None, "num_bits 3"),
        ({**FLOAT, "num_bits": 4}, None, "float weights of 4 bits"),
        ({**INT8, "group_size": 16, "strategy": "tensor_group"}, None, "strategy 'tensor_group'"),
        (INT8, {**INT8, "strategy": "tensor"}, "input_activations that are not dynamic"),
    ],
)
def test_schemes_that_are_not_followed(
    weights: dict[str, Any], activations: dict[str, Any] | None, message: str, tmp_path: Path
) -> None:
    _, stored = save(tmp_path, settings_of(INT8, BYTES))
    config = json.loads((stored / "config.json").read_text())
    group = config["quantization_config"]["config_groups"]["group_0"]
    group |= {"weights": weights, "input_activations": activations}
    (stored / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=f"compressed-tensors can't take .*{message}"):
        LLM(stored, dtype="float32", kv_cache_memory=2**24)


def test_groups_of_inputs_that_do_not_lie_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer versions of the library only know the setting; the definition is GPTQ's."""
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")

    def quantise(name: str, weight: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        inputs = weight.shape[1]
        groups = torch.randperm(inputs, generator=torch.Generator().manual_seed(0)) // 64
        scale = torch.stack(
            [weight[:, groups == group].abs().amax(1) / 7 for group in range(inputs // 64)], dim=1
        )
        steps = (weight / scale[:, groups]).round().to(torch.int8)
        stored = {
            "weight_packed": packing.pack_to_int32(steps, 4),
            "weight_shape": torch.tensor(weight.shape),
            "weight_scale": scale,
            "weight_g_idx": groups.int(),
        }
        return steps * scale[:, groups], stored

    settings = settings_of({**INT4, "actorder": "group"}, PACKED)
    plain, stored = save_quantised(tmp_path, settings, quantise)
    llm = LLM(stored, dtype="float32", kv_cache_memory=2**24)
    prompt = conversation("What is this?", [])
    check_equal(llm.chat(prompt, GREEDY)[0], Reference(plain).answer(prompt))


def test_float8_in_blocks_as_deepseek_stores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tensors under other names; the last block of rows is a half."""
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    settings = {"quant_method": "fp8", "weight_block_size": [48, 32], "fmt": "e4m3"}

    def quantise(name: str, weight: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        outputs, inputs = weight.shape
        wide = torch.zeros(-(-outputs // 48) * 48, inputs)
        wide[:outputs] = weight
        blocks = wide.view(-1, 48, inputs // 32, 32)
        scale = blocks.abs().amax((1, 3)) / 448
        data = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn)
        values = (data.float() * scale[:, None, :, None]).view_as(wide)[:outputs]
        stored = data.view(torch.uint8).view(wide.shape)[:outputs].view(torch.float8_e4m3fn)
        return values.contiguous(), {"weight": stored, "weight_scale_inv": scale}

    plain, stored = save_quantised(tmp_path, settings, quantise)
    llm = LLM(stored, dtype="float32", kv_cache_memory=2**24)
    prompt = conversation("What is this?", [])
    check_equal(llm.chat(prompt, GREEDY)[0], Reference(plain).answer(prompt))
