"""Checkpoints that other programs have quantised: answers are those of the same weights, plain."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from octavo import LLM
from octavo.core.layers.quantized_linear import QuantizedLinear
from octavo.core.layers.stored.reordered_linear import ReorderedLinear
from octavo.core.protocol.config import ConfigError
from octavo.kernels.reference import dequantize
from parity import GREEDY, Reference, check_equal, conversation
from quantised_checkpoints import (
    Numbers,
    awq_tensors,
    gptq_tensors,
    rounded,
    save_quantised,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm", "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 64, "desc_act": False, "sym": False}


def save(folder: Path, settings: Mapping[str, Any]) -> tuple[Path, Path]:
    """See save_quantised. With desc_act, inputs are in random groups."""
    bits, generator = settings["bits"], np.random.default_rng(0)

    def quantise(name: str, weight: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        groups = groups_of(weight.shape[1], settings["group_size"])
        if settings.get("desc_act"):
            generator.shuffle(groups)
        made = rounded(weight, bits, groups, settings.get("sym", False))
        if settings["quant_method"] == "awq":
            return made.values(), awq_tensors(made)
        below = 0 if settings.get("checkpoint_format") == "gptq_v2" else 1
        return made.values(), gptq_tensors(made, bits, below)

    return save_quantised(folder, settings, quantise)


def groups_of(inputs: int, group_size: int) -> Numbers:
    return np.arange(inputs) // (inputs if group_size == -1 else group_size)


@pytest.mark.parametrize(
    "settings",
    [
        AWQ,
        {**AWQ, "group_size": 32},
        {**AWQ, "group_size": -1},
        GPTQ,
        {**GPTQ, "bits": 2, "group_size": 32},
        {**GPTQ, "bits": 8, "group_size": 128},
        {**GPTQ, "bits": 8, "group_size": -1, "sym": True},
        {**GPTQ, "sym": True, "checkpoint_format": "gptq_v2"},
        {**GPTQ, "desc_act": True},
    ],
    ids=lambda given: "-".join(str(value) for value in given.values()),
)
def test_answers_are_those_of_the_same_weights(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fast kernels round activations, too; what they make of each format is checked elsewhere.
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    plain, stored = save(tmp_path, settings)
    llm = LLM(stored, dtype="float32", kv_cache_memory=2**24)
    prompt = conversation("What is this?", [])
    check_equal(llm.chat(prompt, GREEDY)[0], Reference(plain).answer(prompt))
    weights = load_file(plain / "model.safetensors")
    layers = dict(llm._core._executor._runner._model.named_modules())
    for name in ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"):
        torch.testing.assert_close(
            values_of(layers[name]), weights[f"{name}.weight"], atol=0, rtol=1e-6
        )


def values_of(layer: nn.Module) -> Tensor:
    if isinstance(layer, ReorderedLinear):
        values = values_of(layer.layer)
        return torch.empty_like(values).index_copy(1, layer.order, values)
    assert isinstance(layer, QuantizedLinear)
    return dequantize(layer.weight)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {**AWQ, "version": "gemv"},
            "awq can't take .*: version 'gemv' is not supported, but 'gem",
        ),
        ({**AWQ, "zero_point": False}, "zero_point False is not supported, but True"),
        ({**AWQ, "group_size": 48}, r"awq can't take model\.layers\.0\..*q_proj: 128 inputs"),
        ({**AWQ, "order": 1}, "quantization_config has order, which is not supported"),
        ({**GPTQ, "bits": 3}, "bits 3 is not supported, but 4, 2, 8"),
        ({**GPTQ, "checkpoint_format": "marlin"}, "checkpoint_format 'marlin'"),
        ({**GPTQ, "lm_head": True}, "lm_head True"),
        ({**GPTQ, "dynamic": {"-:.*down.*": {}}}, "dynamic {'-:"),
    ],
)
def test_settings_that_are_not_followed(
    settings: dict[str, Any], message: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    _, stored = save(tmp_path, AWQ)
    config = json.loads((stored / "config.json").read_text())
    (stored / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    with pytest.raises(ConfigError, match=message):
        LLM(stored, dtype="float32", kv_cache_memory=2**24)


def test_damaged_tensors_are_named(tmp_path: Path) -> None:
    _, stored = save(tmp_path, GPTQ)
    file, layer = stored / "model.safetensors", "model.layers.1.mlp.up_proj"
    tensors = load_file(file)

    def fails(message: str, **changed: Tensor | None) -> None:
        named = {f"{layer}.{name}": tensor for name, tensor in changed.items()}
        kept = {k: v for k, v in {**tensors, **named}.items() if v is not None}
        save_file(kept, file, {"format": "pt"})
        with pytest.raises(ConfigError, match=message):
            LLM(stored, dtype="float32", kv_cache_memory=2**24)

    scales = tensors[f"{layer}.scales"]
    fails(rf"1 weights are missing, such as {layer}\.qzeros", qzeros=None)
    fails(rf"{layer}\.scales has shape \[1, 256\]", scales=scales[:1].contiguous())
    fails(rf"{layer}\.scales is stored as int32, but float16", scales=scales.to(torch.int32))
    fails(rf"{layer}\.g_idx is stored as float32", g_idx=torch.zeros(128))
    broken = torch.zeros(128, dtype=torch.int32)
    fails(rf"gptq can't take {layer}: the inputs are not in 2 groups", g_idx=broken)


def test_small_floats_are_not_taken_for_plain_weights(tmp_path: Path) -> None:
    plain, _ = save(tmp_path, AWQ)
    tensors, name = load_file(plain / "model.safetensors"), "model.layers.1.mlp.up_proj.weight"
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    save_file(tensors, plain / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=rf"{name} is stored as float8_e4m3fn, but float32"):
        LLM(plain, dtype="float32", kv_cache_memory=2**24)
