"""A layer, or a part of one, that computes otherwise than the built-in class is called, and not
skipped by a kernel that takes its weights: truth is transformers with the same change."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from octavo import LLM
from octavo.core.layers.attention import PagedSelfAttention
from octavo.core.layers.decoder import DecoderLayer
from octavo.core.layers.mlp import MLP, GatedMLP
from octavo.core.layers.norm import RMSNorm
from octavo.core.layers.vision_transformer import VisionAttention, VisionLayer
from octavo.plugins.models.llama import model as llama
from parity import GREEDY, Reference, check_equal, conversation
from PIL import Image
from torch import Tensor, nn

_PLAIN = llama.LlamaForCausalLM


def _doubled(kind: type[nn.Module]) -> type[nn.Module]:
    """A subclass whose output is twice as large."""

    def forward(self: nn.Module, *args: Any, **options: Any) -> Any:
        return kind.forward(self, *args, **options) * 2

    return type(f"Doubled{kind.__name__}", (kind,), {"forward": forward})


class DoubledMLPLayer(DecoderLayer):
    """As some models scale their branches."""

    def forward(self, x: Tensor, rotary: Any, kv: Any, metadata: Any) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotary, kv, metadata)
        output: Tensor = x + 2 * self.mlp(self.post_attention_layernorm(x))
        return output


def _set_class(name: str, kind: type) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        for layer in model.model.layers:
            part = layer.get_submodule(name)
            part.__class__ = kind

    return change


def _hook(name: str) -> Callable[[Any], None]:
    """Doubles what a part of each layer gives, in either implementation."""

    def change(model: Any) -> None:
        for layer in model.model.layers:
            layer.get_submodule(name).register_forward_hook(lambda _, __, output: output * 2)

    return change


def _hook_attention(model: Any) -> None:
    """transformers' gives its weights too."""
    for layer in model.model.layers:
        layer.self_attn.register_forward_hook(lambda _, __, o: (o[0] * 2, *o[1:]))


def _forward_of_its_own(model: Any) -> None:
    for layer in model.model.layers:
        layer.mlp.forward = lambda x, plain=layer.mlp.forward: plain(x) * 2


def _relu_instead(model: Any) -> None:
    for layer in model.model.layers:
        layer.mlp._kernel = lambda gate, up: torch.relu(gate) * up
        layer.mlp.activation = "relu"


def _transformers_relu(model: Any) -> None:
    for layer in model.model.layers:
        layer.mlp.act_fn = nn.ReLU()


#: What is done to our model and to transformers'.
CHANGES: dict[str, tuple[Callable[[Any], None], Callable[[Any], None]]] = {
    "layer": (_set_class("", DoubledMLPLayer), _hook("mlp")),
    "attention": (_set_class("self_attn", _doubled(PagedSelfAttention)), _hook_attention),
    "mlp": (_set_class("mlp", _doubled(GatedMLP)), _hook("mlp")),
    "norm": (_set_class("input_layernorm", _doubled(RMSNorm)), _hook("input_layernorm")),
    "norm with a residual": (
        _set_class("post_attention_layernorm", _doubled(RMSNorm)),
        _hook("post_attention_layernorm"),
    ),
    "linear": (_set_class("mlp.down_proj", _doubled(nn.Linear)), _hook("mlp.down_proj")),
    "hook": (_hook("mlp"), _hook("mlp")),
    "hook on a linear layer": (_hook("self_attn.k_proj"), _hook("self_attn.k_proj")),
    "forward of its own": (_forward_of_its_own, _forward_of_its_own),
    "activation": (_relu_instead, _transformers_relu),
}


def _load(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None], **settings: Any
) -> LLM:
    class Changed(_PLAIN):
        def __init__(self, config: Any, build: Any) -> None:
            super().__init__(config, build)
            change(self)

    monkeypatch.setattr(llama, "LlamaForCausalLM", Changed)
    return LLM(folder, dtype="float32", kv_cache_memory=2**24, **settings)


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_part_is_called(
    name: str,
    checkpoints: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours, theirs = CHANGES[name]
    reference = Reference(checkpoints["llama"])
    prompt = conversation("Hello there, and what else", [])
    plain = reference.answer(prompt)
    theirs(reference.model)
    expected = reference.answer(prompt)
    assert not torch.allclose(plain[2], expected[2], atol=1e-2), "the change must show"
    with caplog.at_level(logging.INFO, "octavo"):
        llm = _load(checkpoints["llama"], monkeypatch, ours)
    check_equal(llm.chat(prompt, GREEDY)[0], expected)
    assert caplog.text.count("the decoder runs layer by layer: no kernel knows") == 1


def test_what_is_not_changed_is_fused_and_says_nothing(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "octavo"):
        llm = _load(checkpoints["llama"], monkeypatch, lambda model: None)
        quantised = _load(checkpoints["llama"], monkeypatch, lambda _: None, quantization="int8")
    assert "layer by layer" not in caplog.text
    for loaded in (llm, quantised):
        model: Any = loaded._core._executor._runner._model
        assert model._decoder is not None


def test_a_forward_that_runs_the_layers_itself(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = Reference(checkpoints["llama"])
    reference.model.model.norm.register_forward_pre_hook(lambda _, args: (args[0] * 0.5 + 1,))

    class Looping(_PLAIN):
        def forward(self, embeds: Any, positions: Any, kv_cache: Any, metadata: Any) -> Tensor:
            rotary = self._rotary["full_attention"].lookup(positions, metadata)
            for layer, kv in zip(self.model.layers, kv_cache, strict=True):
                embeds = layer(embeds, rotary, kv, metadata)
            output: Tensor = self.model.norm(embeds * 0.5 + 1)
            return output

    monkeypatch.setattr(llama, "LlamaForCausalLM", Looping)
    llm = LLM(checkpoints["llama"], dtype="float32", kv_cache_memory=2**24)
    prompt = conversation("Hello there", [])
    check_equal(llm.chat(prompt, GREEDY)[0], reference.answer(prompt))


def test_a_linear_layer_of_another_class_is_not_quantised(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    doubled = _doubled(nn.Linear)
    change = _set_class("mlp.down_proj", doubled)
    llm = _load(checkpoints["llama"], monkeypatch, change, quantization="int8")
    model: Any = llm._core._executor._runner._model
    assert type(model.model.layers[0].mlp.down_proj) is doubled
    assert type(model.model.layers[0].mlp.up_proj) is not nn.Linear


class DoubledBranch(VisionLayer):
    def forward(self, x: Tensor, lengths: Any, rotary: Any) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), lengths)
        output: Tensor = x + 2 * self.mlp(self.layer_norm2(x))
        return output


def _with_part(name: str, kind: type[nn.Module]) -> type[VisionLayer]:
    class Changed(VisionLayer):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            getattr(self, name).__class__ = _doubled(kind)

    return Changed


#: Our layers, and what of transformers' is doubled.
TOWERS: dict[str, tuple[type[VisionLayer], str]] = {
    "layer": (DoubledBranch, "mlp"),
    "attention": (_with_part("self_attn", VisionAttention), "self_attn"),
    "mlp": (_with_part("mlp", MLP), "mlp"),
    "norm": (_with_part("layer_norm1", nn.LayerNorm), "layer_norm1"),
}


@pytest.mark.parametrize("name", TOWERS)
def test_a_changed_tower_is_called(
    name: str,
    checkpoints: dict[str, Path],
    pictures: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours, part = TOWERS[name]
    folder = checkpoints["llava-siglip"]
    reference = Reference(folder)
    prompt = conversation("What is this?", pictures[:1])
    inputs = reference.processor(images=pictures[:1], text="<image>", return_tensors="pt")
    layers = next(m for n, m in reference.model.named_modules() if n.endswith("encoder.layers"))

    def double(_: Any, __: Any, output: Any) -> Any:
        return (output[0] * 2, *output[1:]) if isinstance(output, tuple) else output * 2

    for layer in layers:
        layer.get_submodule(part).register_forward_hook(double)
    with torch.inference_mode():
        features = reference.model.get_image_features(pixel_values=inputs["pixel_values"])
    expected = torch.cat(list(features.pooler_output))
    monkeypatch.setattr("octavo.core.layers.vision_transformer.VisionLayer", ours)
    with caplog.at_level(logging.INFO, "octavo"):
        llm = LLM(folder, dtype="float32", kv_cache_memory=2**24)
    found = llm.encode_images(prompt)[0]
    torch.testing.assert_close(found, expected.view_as(found), atol=1e-4, rtol=1e-4)
    assert caplog.text.count("a tower runs layer by layer: no kernel knows") == 1
