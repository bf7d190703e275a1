"""Joins projections that read the same input: queries with keys and values, gate with up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...layers.known_modules import is_known
from ..deployment import Deployment
from ..fused_linear import FusedLinear
from ..kv_geometry import run_once

#: What models call the layers that may be joined.
_PATTERNS = (
    ("q_proj", "k_proj", "v_proj"),
    ("gate_proj", "up_proj"),
    ("query", "key", "value"),
    ("wq", "wk", "wv"),
    ("w1", "w3"),
)
_PROBE_ROWS = 3
#: How far a joined layer's outputs may be from the single ones', in their standard deviations.
_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


class FuseProjections:
    """See Pass."""

    name = "fuse"
    summary = "join projections that read the same input into one matrix"
    preserves_greedy = True
    required = False

    def apply(self, deployment: Deployment) -> str:
        """Join what has the names, reads one tensor, and gives the same as before."""
        candidates = list(_candidates(deployment.decoder))
        seen = _inputs_seen(deployment, [layer for group in candidates for layer in group[2]])
        joined = dict.fromkeys(("+".join(names) for _, names, _ in candidates), 0)
        for parent, names, layers in candidates:
            one_input = len({seen.get(layer, id(layer)) for layer in layers}) == 1
            if one_input and _join(parent, names, layers, deployment):
                joined["+".join(names)] += 1
        found = ", ".join(f"{count} × {names}" for names, count in joined.items() if count)
        return found or "nothing to join"


def _candidates(
    decoder: nn.Module,
) -> Iterator[tuple[nn.Module, tuple[str, ...], list[nn.Linear]]]:
    for parent in decoder.modules():
        for names in _PATTERNS:
            layers = [getattr(parent, name, None) for name in names]
            linear = [layer for layer in layers if layer is not None and is_known(layer, nn.Linear)]
            if len(linear) == len(names):
                yield parent, names, linear


def _inputs_seen(deployment: Deployment, layers: Sequence[nn.Module]) -> dict[nn.Module, int]:
    """Which tensor each layer reads in a run of the decoder; ids are only compared."""
    seen: dict[nn.Module, int] = {}
    kept: list[Any] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kept.append(inputs[0])
        seen[layer] = id(inputs[0])

    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        run_once(deployment.decoder, deployment.hidden_size)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _join(
    parent: nn.Module, names: Sequence[str], layers: Sequence[nn.Linear], deployment: Deployment
) -> bool:
    try:
        parts = FusedLinear(layers).parts()
    except ValueError:
        return False
    if not deployment.dry_run and not _gives_the_same(layers, parts):
        return False
    for name, part in zip(names, parts, strict=True):
        setattr(parent, name, part)
    return True


def _gives_the_same(layers: Sequence[nn.Linear], parts: Sequence[nn.Module]) -> bool:
    weight = layers[0].weight
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_PROBE_ROWS, weight.shape[1], generator=generator).to(weight)
    for layer, part in zip(layers, parts, strict=True):
        expected = layer(x).float()
        if (part(x).float() - expected).abs().max() > _TOLERANCE[weight.dtype] * expected.std():
            return False
    return True
