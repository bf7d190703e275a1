"""Quantised formats that no kernel runs whole layers of: answers are right all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from octavo import LLM
from octavo.core.contracts.specs import CONTRACT_VERSION, QuantSpec
from octavo.core.layers.quantized_linear import QuantizedLinear, quantize_groups
from octavo.core.registry.registry import get_registry
from octavo.kernels.ops import QuantizedWeight
from octavo.kernels.reference.linear import dequantize
from parity import GREEDY, Reference, check_equal, conversation
from torch import Tensor, nn


def _floats(weight: Tensor) -> QuantizedWeight:
    scale = weight.abs().amax(1, keepdim=True) / torch.finfo(torch.float8_e4m3fn).max
    data = (weight / scale).to(torch.float8_e4m3fn)
    return QuantizedWeight("fp8", data, scale, None, weight.shape[1])


class Groups:
    """Smaller ones than the kernels' own."""

    def __init__(self, settings: dict[str, Any]) -> None:
        pass

    def quantize(self, name: str, layer: nn.Linear) -> nn.Module:
        return QuantizedLinear(self.weight(name, layer.weight.detach()), layer.bias)

    def weight(self, name: str, weight: Tensor) -> QuantizedWeight:
        return quantize_groups(weight, 32)


class Floats(Groups):
    """Of eight bits."""

    def weight(self, name: str, weight: Tensor) -> QuantizedWeight:
        return _floats(weight)


class Mixed(Groups):
    """Layers with the same input in formats of their own."""

    def weight(self, name: str, weight: Tensor) -> QuantizedWeight:
        floats = name.endswith(("k_proj", "up_proj"))
        return _floats(weight) if floats else quantize_groups(weight, 32)


@pytest.mark.parametrize("method", [Groups, Floats, Mixed])
def test_layers_run_one_by_one(
    method: type[Groups], checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = QuantSpec("odd", f"{__name__}:{method.__name__}", contract_version=CONTRACT_VERSION)
    monkeypatch.setitem(get_registry().quants, "odd", spec)
    reference = Reference(checkpoints["llama"])
    for name, layer in reference.model.named_modules():
        if isinstance(layer, nn.Linear) and "layers." in name:
            layer.weight.data = dequantize(method({}).weight(name, layer.weight.detach()))
    llm = LLM(checkpoints["llama"], dtype="float32", quantization="odd")
    prompt = conversation("What is this?", [])
    check_equal(llm.chat(prompt, GREEDY)[0], reference.answer(prompt))
