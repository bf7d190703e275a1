"""Integers of four or eight bits and float8, in the layouts of the compressed-tensors library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ....core.contracts.specs import JsonDict
from ....core.layers.quantized_linear import QuantizedLinear
from ....core.layers.stored.float8_weight import float8_weight
from ....core.layers.stored.grouped_weight import grouped_weight
from ....core.layers.stored.packed_words import unpack_words
from ....core.layers.stored.reordered_linear import in_order_of_groups
from ....core.layers.stored.stored_linear import StoredLinear, check_groups
from .schemes import Scheme, Schemes

_WORD = 32


class CompressedTensorsMethod:
    """See `plugin.interfaces.FinishingQuantMethod`."""

    def __init__(self, settings: JsonDict) -> None:
        """Raises ValueError for what isn't followed."""
        self._schemes = Schemes(settings)

    def reserve(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """`weight`, or `weight_packed` and `weight_shape`; `weight_scale`, and `weight_zero_point`
        and `weight_g_idx` where there are some."""
        scheme = self._schemes.of(name)
        if scheme is None:
            return None
        inputs, outputs = layer.in_features, layer.out_features
        if scheme.is_float:
            return StoredLinear(layer, _of_floats(scheme, inputs, outputs))
        return StoredLinear(layer, _of_integers(scheme, inputs, outputs))

    def finish(self, name: str, module: nn.Module) -> nn.Module:
        """The same weight as groups of inputs that lie together. Raises ValueError for tensors that
        contradict each other."""
        stored = cast(StoredLinear, module)
        scheme = self._schemes.of(name)
        assert scheme is not None
        scales = stored.get_buffer("weight_scale")
        if scheme.one_scale:
            scales = scales.view(-1, 1)
        if scheme.is_float:
            rows = stored.out_features if scheme.one_scale else (scheme.block or (1, 1))[0]
            return QuantizedLinear(
                float8_weight(stored.get_buffer("weight"), scales, rows), stored.bias
            )
        scales = scales.expand(stored.out_features, -1)
        steps, middle = _steps(stored, scheme), 1 << (scheme.bits - 1)
        zeros = torch.full_like(scales, middle) if scheme.symmetric else _zeros(stored, scheme)
        if not scheme.reordered:
            weight = grouped_weight(steps, scales, zeros, scheme.bits)
            return QuantizedLinear(weight, stored.bias)
        groups = stored.get_buffer("weight_g_idx")
        return in_order_of_groups(
            groups,
            scales.shape[1],
            lambda order: QuantizedLinear(
                grouped_weight(steps[:, order], scales, zeros, scheme.bits), stored.bias
            ),
        )


_Tensors = dict[str, tuple[Sequence[int], torch.dtype]]


def _of_floats(scheme: Scheme, inputs: int, outputs: int) -> _Tensors:
    shape: tuple[int, ...] = (1,) if scheme.one_scale else (outputs, 1)
    if scheme.block is not None:
        rows, columns = scheme.block
        check_groups(inputs, columns)
        shape = (-(-outputs // rows), inputs // columns)
    return {
        "weight": ((outputs, inputs), torch.float8_e4m3fn),
        "weight_scale": (shape, torch.float32),
    }


def _of_integers(scheme: Scheme, inputs: int, outputs: int) -> _Tensors:
    group_size = scheme.group_size or inputs
    check_groups(inputs, group_size)
    groups = inputs // group_size
    tensors: _Tensors = {
        "weight_scale": ((1,) if scheme.one_scale else (outputs, groups), torch.float32)
    }
    if scheme.packed:
        per_word = _WORD // scheme.bits
        if inputs % per_word or (not scheme.symmetric and outputs % per_word):
            raise ValueError(f"{inputs} inputs and {outputs} outputs are not whole words")
        tensors["weight_packed"] = ((outputs, inputs // per_word), torch.int32)
        tensors["weight_shape"] = ((2,), torch.int64)
    else:
        tensors["weight"] = ((outputs, inputs), torch.int8)
    if not scheme.symmetric and scheme.packed:
        tensors["weight_zero_point"] = ((outputs // per_word, groups), torch.int32)
    elif not scheme.symmetric:
        tensors["weight_zero_point"] = (tensors["weight_scale"][0], torch.int8)
    if scheme.reordered:
        tensors["weight_g_idx"] = ((inputs,), torch.int32)
    return tensors


def _steps(stored: StoredLinear, scheme: Scheme) -> Tensor:
    """uint8 [out, in], from 0 on."""
    if not scheme.packed:
        return _from_zero(stored.get_buffer("weight"))
    shape = stored.get_buffer("weight_shape").tolist()
    if shape != [stored.out_features, stored.in_features]:
        raise ValueError(f"weight_shape is {shape}")
    return unpack_words(stored.get_buffer("weight_packed"), scheme.bits)


def _zeros(stored: StoredLinear, scheme: Scheme) -> Tensor:
    """[out, groups], in the same steps."""
    zeros = stored.get_buffer("weight_zero_point")
    if scheme.packed:
        return unpack_words(zeros.T, scheme.bits).T
    return _from_zero(zeros.view(-1, 1) if scheme.one_scale else zeros).expand(
        stored.out_features, -1
    )


def _from_zero(integers: Tensor) -> Tensor:
    return (integers.to(torch.int16) + 128).to(torch.uint8)
