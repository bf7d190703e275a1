"""Tensors of a rounded weight as the compressed-tensors library names and lays them out."""

from __future__ import annotations

import torch
from torch import Tensor

from ...layers.stored.packed_words import unpack_words
from .grid import Grid, Rounded

_WORD = 32


def stored_tensors(weight: Rounded, grid: Grid) -> dict[str, Tensor]:
    """By what their names have after the layer's: `pack-quantized` of integers, `float-quantized`
    of float8."""
    if grid.is_float:
        return {"weight": weight.steps, "weight_scale": weight.scales}
    tensors = {
        "weight_packed": _words(weight.steps, grid.bits),
        "weight_scale": weight.scales,
        "weight_shape": torch.tensor(weight.steps.shape),
    }
    if not grid.symmetric:
        tensors["weight_zero_point"] = _words(weight.zeros.T, grid.bits).T.contiguous()
    return tensors


def stored_bits(grid: Grid, outputs: int, inputs: int, dtype: torch.dtype) -> int:
    """Of all `stored_tensors` of a layer of this shape. dtype: of its scales."""
    scales = outputs * (inputs // grid.size(inputs))
    bits = outputs * inputs * grid.bits + scales * dtype.itemsize * 8
    if grid.is_float:
        return bits
    # The shape is two numbers of 64 bits.
    return bits + 2 * 64 + (0 if grid.symmetric else scales * grid.bits)


def from_stored(tensors: dict[str, Tensor], grid: Grid) -> Rounded:
    """The same weight again."""
    scales = tensors["weight_scale"]
    zeros = torch.full_like(scales, 0 if grid.is_float else grid.middle, dtype=torch.uint8)
    if grid.is_float:
        return Rounded(tensors["weight"], scales, zeros)
    if not grid.symmetric:
        zeros = unpack_words(tensors["weight_zero_point"].T, grid.bits).T
    return Rounded(unpack_words(tensors["weight_packed"], grid.bits), scales, zeros)


def fits(grid: Grid, outputs: int, inputs: int) -> bool:
    """Whether groups and words of a layer are whole."""
    if grid.is_float:
        return True
    per_word = _WORD // grid.bits
    whole = inputs % grid.size(inputs) == 0 and inputs % per_word == 0
    return whole and (grid.symmetric or outputs % per_word == 0)


def weight_settings(grid: Grid) -> dict[str, object]:
    """What the checkpoint's settings say of such weights."""
    return {
        "num_bits": grid.bits,
        "type": "float" if grid.is_float else "int",
        "symmetric": grid.symmetric,
        "strategy": "group" if grid.group_size else "channel",
        "group_size": grid.group_size or None,
        "dynamic": False,
        "actorder": None,
    }


def layout(grid: Grid) -> str:
    """The format's name."""
    return "float-quantized" if grid.is_float else "pack-quantized"


def _words(numbers: Tensor, bits: int) -> Tensor:
    """uint8 [rows, n] -> int32 [rows, n · bits / 32], the first in the lowest bits."""
    places = torch.arange(0, _WORD, bits, dtype=torch.int64)
    words = (numbers.long().reshape(len(numbers), -1, _WORD // bits) << places).sum(-1)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)
