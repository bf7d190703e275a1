"""Quantised weights are within their bound, take less room, and leave the tower alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from octavo import LLM, SamplingParams
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.contracts.specs import CONTRACT_VERSION, QuantSpec
from octavo.core.layers import quantized_linear
from octavo.core.layers.quantized_linear import (
    QuantizedLinear,
    quantize_groups,
    quantize_rows,
)
from octavo.core.protocol.config import ConfigError
from octavo.core.quantization.quantizer import Quantizer
from octavo.core.registry.registry import Registry, UnsupportedModelError, get_registry
from octavo.kernels import reference
from octavo.kernels.ops import QuantizedWeight
from octavo.kernels.reference import dequant_linear
from PIL import Image
from torch import Tensor, nn


@given(
    st.integers(1, 40) | st.sampled_from([32, 64, 96]),
    st.integers(1, 40) | st.sampled_from([32, 64, 96]),
    st.sampled_from([1e-30, 1e-3, 1.0, 1e3]),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.integers(1, 9),
    st.booleans(),
)
def test_int8_is_off_by_half_a_step_at_most(
    width: int, height: int, size: float, dtype: torch.dtype, rows: int, bias: bool
) -> None:
    torch.manual_seed(width * 100 + height)
    layer = nn.Linear(width, height, bias=bias).requires_grad_(False).to(dtype)
    layer.weight.mul_(size)
    layer.weight[0] = 0
    quantized = QuantizedLinear(quantize_rows(layer.weight), layer.bias)
    exact = quantized.data.float() * quantized.scale
    assert ((layer.weight.float() - exact).abs() <= quantized.scale * 0.5001).all()
    x = torch.randn(rows, width).to(dtype)
    expected = x.float() @ exact.T + (layer.bias.float() if bias else 0)
    tolerance = (1e-5 if dtype is torch.float32 else 3e-2) * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(quantized(x).float(), expected, atol=tolerance, rtol=0)


@given(
    st.integers(1, 40), st.integers(1, 4), st.sampled_from([1e-2, 1.0, 1e3]), st.integers(0, 999)
)
def test_int4_is_off_by_half_a_step_at_most(
    height: int, groups: int, size: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(height, groups * 64, generator=generator) * size
    weight[0, :64] = size
    quantized = quantize_groups(weight, 64)
    data = quantized.data.view(height, groups, 32)
    steps = torch.cat((data & 15, data >> 4), dim=2).float()
    assert quantized.zero is not None
    exact = steps * quantized.scale[..., None] + quantized.zero[..., None]
    off = (weight.view(height, groups, 64) - exact).abs().amax(dim=2)
    # The scale and the least value are rounded to float16, to 11 bits.
    spread = weight.view(height, groups, 64).abs().amax(dim=2)
    assert (off <= quantized.scale * 0.5 + spread * 2**-8).all()


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_of_a_weight_are_quantised_as_the_whole(
    bits: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quantized(rows_at_once: int) -> QuantizedWeight:
        monkeypatch.setattr(quantized_linear, "_VALUES_AT_ONCE", rows_at_once * 128 + 5)
        return quantize_rows(weight) if bits == 8 else quantize_groups(weight, 64)

    size = torch.logspace(-4, 4, 23)[:, None]
    weight = (torch.randn(23, 128, generator=torch.Generator().manual_seed(5)) * size).to(dtype)
    whole = quantized(rows_at_once=23)
    assert whole.data.shape == (23, 16 * bits)
    for rows in (0, 1, 5, 22):
        parts = quantized(rows)
        assert torch.equal(parts.data, whole.data)
        assert torch.equal(parts.scale, whole.scale)
        assert (parts.zero is None) == (whole.zero is None) == (bits == 8)
        if parts.zero is not None and whole.zero is not None:
            assert torch.equal(parts.zero, whole.zero)


@pytest.mark.parametrize("method", ["int8", "int4"])
def test_only_the_language_model_is_quantised(
    method: str,
    checkpoints: dict[str, Path],
    pictures: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages = [
        {
            "role": "user",
            "content": [{"type": "image", "image": pictures[0]}, {"type": "text", "text": "What?"}],
        }
    ]
    params = SamplingParams(temperature=0, max_tokens=8, logprobs=0)
    plain = LLM(checkpoints["demo"], dtype="float32")
    small = LLM(checkpoints["demo"], dtype="float32", quantization=method)
    torch.testing.assert_close(small.encode_images(messages), plain.encode_images(messages))
    answers = [llm.chat(messages, params)[0].outputs[0] for llm in (plain, small)]
    assert answers[0].text == answers[1].text
    assert answers[0].cumulative_logprob == pytest.approx(answers[1].cumulative_logprob, abs=0.1)

    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    small = LLM(checkpoints["demo"], dtype="float32", quantization=method)
    assert small.chat(messages, params)[0].outputs[0].text == answers[0].text
    modules = dict(small._core._executor._runner._model.named_modules())
    quantized = {name for name, part in modules.items() if isinstance(part, QuantizedLinear)}
    assert "language_model.model.layers.0.mlp.up_proj" in quantized
    assert "language_model.lm_head" in quantized
    assert all(name.startswith("language_model.") for name in quantized)
    assert type(modules["multi_modal_projector.linear_1"]) is nn.Linear


def test_an_unknown_method_is_refused_by_name(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(
        UnsupportedModelError,
        match=r"'int3'; installed: awq, bitsandbytes, compressed-tensors, fp8, gguf, gptq, int4",
    ):
        LLM(checkpoints["llama"], quantization="int3")


def test_a_method_that_only_reads(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"llama isn't quantised with awq, which reads"):
        LLM(checkpoints["llama"], quantization="awq")


def test_a_checkpoint_that_is_quantised_otherwise(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = find_checkpoint(str(checkpoints["llama"]))
    stored = {**checkpoint.config, "quantization_config": {"quant_method": "hqq", "nbits": 4}}
    monkeypatch.setitem(vars(checkpoint), "config", stored)
    with pytest.raises(
        UnsupportedModelError,
        match="'hqq'; installed: awq, bitsandbytes, compressed-tensors, fp8, gguf, gptq, int4",
    ):
        Quantizer.choose(checkpoint, get_registry(), None)
    with pytest.raises(ConfigError, match="quantised with hqq and can't be with int8 too"):
        Quantizer.choose(checkpoint, get_registry(), "int8")
    stored["quantization_config"]["quant_method"] = "int8"
    with pytest.raises(ConfigError, match=r"quantised with int8 already, which .* can't read"):
        Quantizer.choose(checkpoint, get_registry(), None)


class Stored:
    """Reads what it stores: layers of half the outputs, so that they are known again."""

    def __init__(self, settings: dict[str, Any]) -> None:
        assert settings == {"quant_method": "halves"}

    def reserve(self, name: str, layer: nn.Linear) -> nn.Module:
        return nn.Linear(layer.in_features, layer.out_features // 2)

    def quantize(self, name: str, layer: nn.Linear) -> nn.Module:
        raise AssertionError("it is quantised already")


class StoredBefore(Stored):
    """As methods were written when `reserve` was called `prepare`."""

    prepare = Stored.reserve
    reserve = None  # type: ignore[assignment]


@pytest.mark.parametrize("method", [Stored, StoredBefore])
def test_a_method_reserves_what_a_checkpoint_stores(
    method: type, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = find_checkpoint(str(checkpoints["llama"]))
    stored = {**checkpoint.config, "quantization_config": {"quant_method": "halves"}}
    monkeypatch.setitem(vars(checkpoint), "config", stored)
    spec = QuantSpec("halves", f"{__name__}:{method.__name__}", contract_version=CONTRACT_VERSION)
    registry = Registry(quants={"halves": spec})
    if method is Stored:
        quantizer = Quantizer.choose(checkpoint, registry, None)
    else:
        with pytest.warns(DeprecationWarning, match=r"StoredBefore\.prepare: .* `reserve` now"):
            quantizer = Quantizer.choose(checkpoint, registry, None)
    assert quantizer is not None
    model = nn.ModuleDict({"up_proj": nn.Linear(8, 6), "lm_head": nn.Linear(8, 6)})
    quantizer.reserve(model)
    quantizer.quantize_heads(model)
    quantizer.quantize_layers(model, torch.float32)
    assert [layer.out_features for layer in model.children()] == [3, 6]


def test_layers_multiply_by_the_kernel_that_was_chosen(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(x: Tensor, weight: QuantizedWeight, bias: Tensor | None = None) -> Tensor:
        calls.append(weight.format)
        return dequant_linear(x, weight, bias)

    monkeypatch.setattr(reference, "dequant_linear", counted)
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    llm = LLM(checkpoints["llama"], dtype="float32", quantization="int8")
    llm.generate(["a"], SamplingParams(temperature=0, max_tokens=2, ignore_eos=True))
    assert calls
    assert set(calls) == {"int8"}
