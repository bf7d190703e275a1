"""Quantised weights are within their bound, take less room, and leave the tower alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from octavo import LLM, SamplingParams
from octavo.core.engine.config import ConfigError
from octavo.core.registry import UnsupportedModelError
from octavo.plugins.quant.int8.method import Int8Linear
from PIL import Image
from torch import nn


@given(
    st.integers(1, 40) | st.sampled_from([32, 64, 96]),
    st.integers(1, 40) | st.sampled_from([32, 64, 96]),
    st.sampled_from([1e-30, 1e-3, 1.0, 1e3]),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.integers(1, 9),
    st.booleans(),
)
def test_error_is_at_most_half_a_step(
    width: int, height: int, size: float, dtype: torch.dtype, rows: int, bias: bool
) -> None:
    torch.manual_seed(width * 100 + height)
    layer = nn.Linear(width, height, bias=bias).requires_grad_(False).to(dtype)
    layer.weight.mul_(size)
    layer.weight[0] = 0
    quantized = Int8Linear.from_linear(layer)
    exact = quantized.weight.float() * quantized.scale.float()[:, None]
    # In bfloat16 the scale itself is rounded, to 8 bits.
    rounding = 0 if dtype is torch.float32 else 127 * 2**-8
    bound = quantized.scale.float() * (0.5 + rounding) * 1.001
    assert ((layer.weight.float() - exact).abs() <= bound[:, None]).all()
    x = torch.randn(rows, width).to(dtype)
    expected = x.float() @ exact.T + (layer.bias.float() if bias else 0)
    tolerance = (1e-5 if dtype is torch.float32 else 3e-2) * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(quantized(x).float(), expected, atol=tolerance, rtol=0)


def test_only_the_language_model_is_quantised(
    checkpoints: dict[str, Path], pictures: list[Image.Image]
) -> None:
    messages = [
        {
            "role": "user",
            "content": [{"type": "image", "image": pictures[0]}, {"type": "text", "text": "What?"}],
        }
    ]
    params = SamplingParams(temperature=0, max_tokens=8, logprobs=0)
    plain = LLM(checkpoints["demo"], dtype="float32")
    small = LLM(checkpoints["demo"], dtype="float32", quantization="int8")
    torch.testing.assert_close(small.encode_images(messages), plain.encode_images(messages))
    answers = [llm.chat(messages, params)[0].outputs[0] for llm in (plain, small)]
    assert answers[0].text == answers[1].text
    assert answers[0].cumulative_logprob == pytest.approx(answers[1].cumulative_logprob, abs=0.1)

    model = small._core._runner._model
    kinds = {name: type(module) for name, module in model.named_modules()}
    assert kinds["language_model.model.layers.0.mlp.up_proj"] is Int8Linear
    assert kinds["multi_modal_projector.linear_1"] is nn.Linear
    assert not any(kind is Int8Linear for name, kind in kinds.items() if "vision" in name)
    sizes = [llm._core._plan.weight_bytes for llm in (plain, small)]
    quantized = [m for m in model.modules() if isinstance(m, Int8Linear)]
    saved = sum(3 * m.weight.numel() - 4 * len(m.scale) for m in quantized)
    assert sizes[0] - sizes[1] == saved > 0


def test_an_unknown_method_is_refused_by_name(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(UnsupportedModelError, match=r"'int3'; installed: int8"):
        LLM(checkpoints["llama"], quantization="int3")


def test_a_checkpoint_that_is_quantised_otherwise(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from octavo.core.engine.find_checkpoint import find_checkpoint
    from octavo.core.engine.quantizer import Quantizer
    from octavo.core.registry import get_registry

    checkpoint = find_checkpoint(str(checkpoints["llama"]))
    stored = {**checkpoint.config, "quantization_config": {"quant_method": "gptq", "bits": 4}}
    monkeypatch.setitem(vars(checkpoint), "config", stored)
    with pytest.raises(UnsupportedModelError, match="'gptq'; installed: int8"):
        Quantizer.choose(checkpoint, get_registry(), None)
    with pytest.raises(ConfigError, match="quantised with gptq and can't be with int8 too"):
        Quantizer.choose(checkpoint, get_registry(), "int8")
