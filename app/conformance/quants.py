"""A quantisation method's promises, tried on layers with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from ...core.contracts.specs import QuantSpec, load_object
from ...kernels.dtypes import dtype_name
from .finding import Finding, attempt, check_class

#: Of the output's size, at 4 bits and random weights; more is broken rather than coarse.
_LARGEST_ERROR = 0.25


def check_quant(spec: QuantSpec) -> Iterator[Finding]:
    """Whether layers it makes are close, keep shape and dtype, and take less room. One that only
    reads what is quantised already makes none without a checkpoint."""
    subject = f"quant {spec.name}"
    if _only_reads(spec):
        yield from check_class(subject, "class", spec.load, ("reserve",))
        return
    yield from check_class(subject, "class", spec.load, ("quantize",))
    for dtype in (torch.float32, torch.bfloat16):
        yield attempt(subject, f"layer in {dtype_name(dtype)}", partial(_layer, spec, dtype))


def _only_reads(spec: QuantSpec) -> bool:
    try:
        loaded: Any = load_object(spec.load)
    except Exception:  # noqa: BLE001 - the check of the class says what is wrong
        return False
    return hasattr(loaded, "reserve") and not hasattr(loaded, "quantize")


def _layer(spec: QuantSpec, dtype: torch.dtype) -> str:
    torch.manual_seed(0)
    layer = nn.Linear(256, 128).requires_grad_(False).to(dtype)
    x = torch.randn(5, 256).to(dtype)
    expected, before = layer(x).float(), _num_bytes(layer)
    method: Any = load_object(spec.load)({})
    made = method.quantize("model.layers.0.mlp.up_proj", layer)
    if made is None:
        return "leaves a layer of 256 x 128 as it is"
    output = made(x)
    if output.shape != expected.shape or output.dtype != dtype:
        raise TypeError(f"gives {output.dtype} {list(output.shape)} where {dtype} [5, 128] belongs")
    error = ((output.float() - expected).norm() / expected.norm()).item()
    if not error <= _LARGEST_ERROR:
        raise ValueError(f"its output is off by {error:.0%}")
    after = _num_bytes(made)
    if after >= before:
        raise ValueError(f"takes {after} bytes, no less than {before}")
    return f"off by {error:.2%}, {after / before:.0%} of the bytes"


def _num_bytes(module: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in module.state_dict().values())
