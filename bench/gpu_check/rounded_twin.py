"""A plain checkpoint whose weights are those that a quantisation method makes of another's, so that
a library that doesn't know the method can compute with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import nn

from ...core.contracts.specs import load_object
from ...core.layers.quantized_linear import QuantizedLinear
from ...core.registry.registry import get_registry
from ...kernels.reference import dequantize

_library: Any = transformers


def save_rounded_twin(plain: str, method: str, folder: Path) -> None:
    """Write a language model with its layers' and its head's weights rounded, in float32."""
    rounder = _rounder(method)
    for_head = rounder.quantizes_head
    head_rounder = _rounder(for_head) if isinstance(for_head, str) else rounder
    model = _library.AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32)
    _untie(model)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear):
            own = head_rounder if layer is model.get_output_embeddings() else rounder
            made = cast(QuantizedLinear, own.quantize(name, layer))
            weight = dequantize(made.weight)
            model.set_submodule(name, nn.Linear(layer.in_features, layer.out_features, False))
            model.get_submodule(name).weight = nn.Parameter(weight, requires_grad=False)
    model.save_pretrained(folder)
    _library.AutoTokenizer.from_pretrained(plain).save_pretrained(folder)


def _rounder(method: str) -> Any:
    return load_object(get_registry().quant_by_name(method).load)({})


def _untie(model: Any) -> None:
    """The table of embeddings stays as it is where the head is rounded."""
    model.config.tie_word_embeddings = False
    head = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
