"""Which layers a compressed-tensors checkpoint stores in which way, by its settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ....core.contracts.specs import JsonDict
from ....core.layers.stored.stored_linear import check_settings

_INTEGERS, _BYTES, _FLOATS = "pack-quantized", "int-quantized", "float-quantized"
_NAIVE = "naive-quantized"
_OF_MODEL: dict[str, tuple[object, ...]] = {
    "format": (None, _INTEGERS, _BYTES, _FLOATS, _NAIVE, "mixed-precision"),
    "kv_cache_scheme": (None,),
    "quantization_status": ("compressed",),
    "moe_sparsity_config": (None, {}),
    "transform_config": (None, {}),
}
_OF_MODEL_HARMLESS = ("config_groups", "ignore", "global_compression_ratio", "version")
_OF_GROUP: dict[str, tuple[object, ...]] = {
    "format": (None, _INTEGERS, _BYTES, _FLOATS, _NAIVE),
    "output_activations": (None,),
}
_OF_WEIGHTS: dict[str, tuple[object, ...]] = {
    "num_bits": (8, 4),
    "type": ("int", "float"),
    "symmetric": (True, False),
    "strategy": ("tensor", "channel", "group", "block"),
    "dynamic": (False,),
    "actorder": (None, "group", "weight", "static", "dynamic"),
}
#: How it was made, and in which dtypes scales and zeros are, which the tensors show.
_OF_WEIGHTS_HARMLESS = (
    *("group_size", "block_structure", "observer", "observer_kwargs"),
    *("scale_dtype", "zp_dtype"),
)


@dataclass(frozen=True)
class Scheme:
    """A layer's weight. packed: several integers in a word. group_size: inputs that share a scale;
    0 for all. block: rows and columns that do. reordered: whether groups are of inputs that don't
    lie together."""

    bits: int
    is_float: bool
    packed: bool
    symmetric: bool
    one_scale: bool
    group_size: int
    block: tuple[int, int] | None
    reordered: bool


@dataclass(frozen=True)
class _Group:
    targets: Sequence[str]
    scheme: Scheme


class Schemes:
    """Of a checkpoint. Raises ValueError for settings that aren't followed."""

    def __init__(self, settings: JsonDict) -> None:
        self._ignored = tuple(settings.get("ignore") or ())
        sparsity = settings.get("sparsity_config") or {}
        if sparsity.get("format", "dense") != "dense":
            raise ValueError(f"sparsity_config of {sparsity['format']!r} is not supported")
        check_settings(settings, _OF_MODEL, (*_OF_MODEL_HARMLESS, "sparsity_config"))
        groups = settings.get("config_groups") or {}
        self._groups = [_group(group, settings.get("format")) for group in groups.values()]

    def of(self, name: str) -> Scheme | None:
        """For a linear layer; None if it is stored plain."""
        if any(_matches(name, pattern) for pattern in self._ignored):
            return None
        for matches in (_matches, _is_class):
            for group in self._groups:
                if any(matches(name, target) for target in group.targets):
                    return group.scheme
        return None


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("re:"):
        return re.match(pattern.removeprefix("re:"), name) is not None
    return name == pattern


def _is_class(name: str, target: str) -> bool:
    return target == "Linear"


def _group(settings: Any, layout: str | None) -> _Group:
    if not isinstance(settings, dict):
        raise ValueError("config_groups by the name of a preset are not supported")
    check_settings(settings, _OF_GROUP, ("targets", "weights", "input_activations"))
    inputs, weights = settings.get("input_activations"), settings.get("weights") or {}
    # Activations stay as they are, which is nearer to the model than rounding them as it runs; but
    # scales that the checkpoint has for them would have no place.
    if inputs and not inputs.get("dynamic"):
        raise ValueError("input_activations that are not dynamic are not supported")
    check_settings(weights, _OF_WEIGHTS, _OF_WEIGHTS_HARMLESS)
    strategy, is_float = weights.get("strategy", "tensor"), weights.get("type") == "float"
    layout = settings.get("format") or layout
    bits, block = weights.get("num_bits", 8), weights.get("block_structure")
    if (bits == 4 or layout == _INTEGERS) and (is_float or layout != _INTEGERS):
        raise ValueError(
            f"{weights.get('type')} weights of {bits} bits as {layout} are not supported"
        )
    if (strategy == "block") != (block is not None) or (block and not is_float):
        raise ValueError(f"block_structure {block!r} is not supported for {strategy!r}")
    return _Group(
        settings.get("targets") or (),
        Scheme(
            bits=bits,
            is_float=is_float,
            packed=layout == _INTEGERS,
            symmetric=weights.get("symmetric", True),
            one_scale=strategy == "tensor",
            group_size=int(weights["group_size"]) if strategy == "group" else 0,
            block=None if block is None else (int(block[0]), int(block[1])),
            reordered=weights.get("actorder") in ("group", "dynamic"),
        ),
    )
