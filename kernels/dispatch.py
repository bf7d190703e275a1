"""Resolve each operation once, at load, to the callable that will run it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .ops import OPS, GatedActivation, PagedAttention, RMSNorm, RotaryEmbedding, WriteKV
from .spec import KernelSpec

OVERRIDE_VARIABLE = "OCTAVO_KERNELS"


class KernelError(ValueError):
    """No usable implementation of an operation, or an override that names none."""


REFERENCE_KERNELS = tuple(
    KernelSpec(op, "reference", f"{__package__}.reference:{op}", priority=-1) for op in OPS
)


@dataclass(frozen=True)
class KernelTable:
    """The resolved callables that layers are built with."""

    paged_attention: PagedAttention
    write_kv: WriteKV
    rms_norm: RMSNorm
    rotary_embedding: RotaryEmbedding
    silu_and_mul: GatedActivation
    gelu_tanh_and_mul: GatedActivation
    backends: dict[str, str]


def resolve_kernels(specs: Sequence[KernelSpec] = (), device_type: str = "cpu") -> KernelTable:
    """Choose one implementation per op for a device; `OCTAVO_KERNELS=op=backend,…` overrides.

    Raises KernelError for an override that names an unknown op or backend.
    """
    overrides = _read_overrides(os.environ.get(OVERRIDE_VARIABLE, ""))
    candidates = [s for s in (*REFERENCE_KERNELS, *specs) if device_type in s.devices]
    chosen = {op: _choose(op, candidates, overrides.get(op)) for op in OPS}
    callables: dict[str, Any] = {op: _import(spec) for op, spec in chosen.items()}
    return KernelTable(**callables, backends={op: spec.backend for op, spec in chosen.items()})


def _read_overrides(text: str) -> dict[str, str]:
    overrides: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        op, _, backend = item.partition("=")
        if op not in OPS or not backend:
            raise KernelError(
                f"{OVERRIDE_VARIABLE}: {item!r} is not of the form op=backend with op one of "
                f"{', '.join(OPS)}"
            )
        overrides[op] = backend
    return overrides


def _choose(op: str, candidates: Sequence[KernelSpec], backend: str | None) -> KernelSpec:
    matching = [s for s in candidates if s.op == op and backend in (None, s.backend)]
    if not matching:
        known = ", ".join(s.backend for s in candidates if s.op == op)
        raise KernelError(
            f"{OVERRIDE_VARIABLE}: no backend {backend!r} for {op}; there are: {known}"
        )
    return max(matching, key=lambda spec: spec.priority)


def _import(spec: KernelSpec) -> Callable[..., Any]:
    module, _, attribute = spec.load.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return function
