"""Formats of quantisation methods from outside, fused by the kernels or run layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from octavo import LLM
from octavo.core.contracts.specs import CONTRACT_VERSION, QuantSpec
from octavo.core.layers.quantized_linear import QuantizedLinear, quantize_groups
from octavo.core.registry.registry import get_registry
from octavo.kernels.dispatch import resolve_kernels
from octavo.kernels.ops import QuantizedWeight
from octavo.kernels.reference.linear import dequantize
from parity import GREEDY, Reference, check_equal, conversation
from torch import Tensor, nn


def _floats(weight: Tensor) -> QuantizedWeight:
    scale = weight.abs().amax(1, keepdim=True) / torch.finfo(torch.float8_e4m3fn).max
    data = (weight / scale).to(torch.float8_e4m3fn)
    return QuantizedWeight("fp8", data, scale, None, weight.shape[1])


class Groups:
    """Smaller ones than any kernel's own."""

    def __init__(self, settings: dict[str, Any]) -> None:
        pass

    def quantize(self, name: str, layer: nn.Linear) -> nn.Module | None:
        weight = self.weight(name, layer.weight.detach())
        return None if weight is None else QuantizedLinear(weight, layer.bias)

    def weight(self, name: str, weight: Tensor) -> QuantizedWeight | None:
        return quantize_groups(weight, 16)


class Interleaved(Groups):
    """Layers whose outputs are taken in turn, in formats of their own."""

    def weight(self, name: str, weight: Tensor) -> QuantizedWeight | None:
        return _floats(weight) if name.endswith("up_proj") else None


class Floats(Groups):
    """Of eight bits."""

    def weight(self, name: str, weight: Tensor) -> QuantizedWeight | None:
        return _floats(weight)


class Mixed(Groups):
    """Layers with the same input in formats of their own."""

    def weight(self, name: str, weight: Tensor) -> QuantizedWeight | None:
        return _floats(weight) if name.endswith(("k_proj", "o_proj")) else None


@pytest.mark.parametrize(
    ("method", "fused"), [(Groups, False), (Interleaved, False), (Floats, True), (Mixed, True)]
)
def test_answers(
    method: type[Groups],
    fused: bool,
    checkpoints: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spec = QuantSpec("odd", f"{__name__}:{method.__name__}", contract_version=CONTRACT_VERSION)
    monkeypatch.setitem(get_registry().quants, "odd", spec)
    reference = Reference(checkpoints["llama"])
    for name, layer in reference.model.named_modules():
        if isinstance(layer, nn.Linear) and "layers." in name:
            weight = method({}).weight(name, layer.weight.detach())
            layer.weight.data = layer.weight if weight is None else dequantize(weight)
    with caplog.at_level("INFO"):
        llm = LLM(checkpoints["llama"], dtype="float32", quantization="odd")
    if resolve_kernels().backends["decoder"] == "cpu":
        assert ("layer by layer" in caplog.text) is not fused
    prompt = conversation("What is this?", [])
    check_equal(llm.chat(prompt, GREEDY)[0], reference.answer(prompt))
