"""Weights of four bits, as bitsandbytes stores them (QLoRA, arXiv:2305.14314; the layout is that of
`QuantState.as_dict` in its functional.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

#: What the 16 codes stand for, by the name of their kind.
KINDS = {
    "nf4": (
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ),
    "fp4": tuple(
        sign * step / 12
        for sign in (1, -1)
        for step in (0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0)
    ),
}
_DTYPES = {str(d).removeprefix("torch."): d for d in (torch.float16, torch.bfloat16, torch.float32)}
_STATE = "quant_state."
_NESTED = ("nested_absmax", "nested_quant_map")
_FIELDS = ("quant_type", "blocksize", "dtype", "shape")
_NESTED_FIELDS = ("nested_blocksize", "nested_dtype", "nested_offset")
#: Codes of a byte-sized table, and values that are dequantised at once at most.
_BYTES, _VALUES_AT_ONCE = 256, 1 << 20


@dataclass(frozen=True)
class _State:
    """block_size: values that share a scale. nested_*: of scales of 8 bits, or 0."""

    kind: str
    block_size: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    nested_block_size: int
    nested_offset: float


def dequantised(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """level · scale, in the dtype that the weight had, as bitsandbytes has it.

    name: the weight's. tensors: by name, it and all those whose names begin with it and a dot.
    Raises ValueError for tensors that contradict each other, with the name of one.
    """
    parts = {key.removeprefix(name).removeprefix("."): value for key, value in tensors.items()}
    state = _read_state(name, parts)
    count = prod(state.shape)
    data = parts[""].contiguous().view(-1).view(torch.uint8)
    _check_size(name, data, -(-count // 2))
    scales = _scales(name, parts, state, -(-count // state.block_size))
    levels = _of_size(name, parts, "quant_map", len(KINDS[state.kind]))
    if not torch.allclose(levels, torch.tensor(KINDS[state.kind]), rtol=0, atol=1e-6):
        raise ValueError(f"{name}.quant_map doesn't have the levels of {state.kind}")
    # Both values of a byte, the higher bits first.
    pairs = torch.cartesian_prod(levels, levels)
    values = torch.empty(count, dtype=state.dtype)
    blocks = max(1, _VALUES_AT_ONCE // state.block_size)
    for first in range(0, len(scales), blocks):
        some = scales[first : first + blocks].repeat_interleave(state.block_size)
        start = first * state.block_size
        end = min(count, start + len(some))
        codes = data[start // 2 : -(-end // 2)].int()
        values[start:end] = pairs[codes].view(-1)[: end - start] * some[: end - start]
    return values.view(state.shape)


def _scales(name: str, parts: Mapping[str, Tensor], state: _State, count: int) -> Tensor:
    """float32 [blocks]."""
    if not state.nested_block_size:
        return _of_size(name, parts, "absmax", count)
    codes = parts["absmax"]
    if codes.dtype is not torch.uint8:
        raise ValueError(f"{name}.absmax is not of 8 bits, but there is a nested_absmax")
    _check_size(f"{name}.absmax", codes, count)
    groups = -(-count // state.nested_block_size)
    scales = _of_size(name, parts, "nested_absmax", groups)
    levels = _of_size(name, parts, "nested_quant_map", _BYTES)
    wide = scales.repeat_interleave(state.nested_block_size)[:count]
    return levels[codes.view(-1).int()] * wide + state.nested_offset


def _of_size(name: str, parts: Mapping[str, Tensor], part: str, count: int) -> Tensor:
    """One that holds floats, as float32 [count]."""
    tensor = parts[part]
    if not tensor.is_floating_point():
        raise ValueError(f"{name}.{part} is no tensor of floats, but {tensor.dtype}")
    _check_size(f"{name}.{part}", tensor, count)
    return tensor.float().reshape(-1)


def _check_size(name: str, tensor: Tensor, count: int) -> None:
    if tensor.numel() != count:
        raise ValueError(f"{name} has {tensor.numel()} numbers, its quant_state asks for {count}")


def _read_state(name: str, parts: Mapping[str, Tensor]) -> _State:
    """Raises ValueError for tensors that are missing, too, or that aren't known."""
    keys = [part for part in parts if part.startswith(_STATE)]
    kinds = {f"{_STATE}bitsandbytes__{kind}": kind for kind in KINDS}
    if len(keys) != 1 or keys[0] not in kinds:
        found = ", ".join(f"{name}.{key}" for key in sorted(keys)) or "none"
        raise ValueError(f"{name} needs one of {', '.join(kinds)}, but there is {found}")
    nested = any(part in parts for part in _NESTED)
    wanted = {"", "absmax", "quant_map", keys[0], *(_NESTED if nested else ())}
    for part in sorted(wanted ^ set(parts)):
        raise ValueError(f"{name}.{part} is {'missing' if part in wanted else 'not supported'}")
    where = f"{name}.{keys[0]}"
    fields = _read_json(where, parts[keys[0]])
    known = {*_FIELDS, *(_NESTED_FIELDS if nested else ())}
    for field in sorted(known ^ set(fields)):
        raise ValueError(f"{where}: {field} is {'missing' if field in known else 'not supported'}")
    return _state_of(where, fields, kinds[keys[0]])


def _read_json(where: str, tensor: Tensor) -> dict[str, Any]:
    if tensor.dtype is not torch.uint8:
        raise ValueError(f"{where} is {tensor.dtype}, but it holds text in uint8")
    try:
        fields = json.loads(bytes(tensor.contiguous().numpy()))
    except ValueError as error:
        raise ValueError(f"{where} is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{where} is no JSON object")
    return fields


def _state_of(where: str, fields: Mapping[str, Any], kind: str) -> _State:
    shape, nested = fields["shape"], "nested_blocksize" in fields
    offset = fields.get("nested_offset", 0.0)
    right = {
        "quant_type": fields["quant_type"] == kind,
        # Odd ones would begin within a byte.
        "blocksize": _is_count(fields["blocksize"]) and fields["blocksize"] % 2 == 0,
        "dtype": fields["dtype"] in _DTYPES,
        "shape": isinstance(shape, list) and bool(shape) and all(map(_is_count, shape)),
        "nested_blocksize": not nested or _is_count(fields["nested_blocksize"]),
        "nested_dtype": not nested or fields["nested_dtype"] == "float32",
        "nested_offset": isinstance(offset, float),
    }
    for field, is_right in right.items():
        if not is_right:
            raise ValueError(f"{where}: {field} {fields[field]!r} is not supported")
    return _State(
        kind=kind,
        block_size=fields["blocksize"],
        dtype=_DTYPES[fields["dtype"]],
        shape=tuple(shape),
        nested_block_size=fields.get("nested_blocksize", 0),
        nested_offset=offset,
    )


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0
