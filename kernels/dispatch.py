"""Choice of each operation's implementation, once, at load."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .builtin import BUILT_IN_KERNELS
from .ops import (
    KV_OPS,
    OPS,
    AddRMSNorm,
    DequantLinear,
    GatedActivation,
    MaskTokens,
    PagedAttention,
    RMSNorm,
    RotaryEmbedding,
    RotaryWriteKV,
    SampleTopKTopP,
    WriteKV,
)
from .prepared import PrepareDecoder, PrepareEncoder, PrepareLinear
from .spec import KernelError, KernelSpec

OVERRIDE_VARIABLE = "OCTAVO_KERNELS"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KernelChoice:
    """Implementation that runs an operation. variant: of the implementation, such as a level of
    instructions, or "". why: human-readable reason. tuning: lines on measurements on this machine
    and the choices they led to."""

    op: str
    backend: str
    variant: str
    why: str
    tuning: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The implementation, with its variant if it has several."""
        return f"{self.backend} {self.variant}".rstrip()


@dataclass(frozen=True)
class KernelTable:
    """The resolved callables that layers are built with."""

    paged_attention: PagedAttention
    write_kv: WriteKV
    rms_norm: RMSNorm
    add_rms_norm: AddRMSNorm
    rotary_embedding: RotaryEmbedding
    rotary_write_kv: RotaryWriteKV
    silu_and_mul: GatedActivation
    gelu_tanh_and_mul: GatedActivation
    dequant_linear: DequantLinear
    sample_top_k_top_p: SampleTopKTopP
    mask_tokens: MaskTokens
    linear: PrepareLinear
    decoder: PrepareDecoder
    encoder: PrepareEncoder
    choices: tuple[KernelChoice, ...]

    @property
    def backends(self) -> dict[str, str]:
        """The implementation of each operation."""
        return {choice.op: choice.backend for choice in self.choices}


def resolve_kernels(
    specs: Sequence[KernelSpec] = (),
    device_type: str = "cpu",
    dtype: str = "float32",
    quantized_kv: str | None = None,
) -> KernelTable:
    """Choose one implementation per op for a device and the dtype of activations, such as
    "bfloat16"; `OCTAVO_KERNELS=op=backend,…` overrides. One that can't be loaded here, or doesn't
    take a KV cache of the dtype quantized_kv, is passed over, which the log says once.

    Raises KernelError for an override that names an unknown op or backend, or one that can't be
    used.
    """
    overrides = _read_overrides(os.environ.get(OVERRIDE_VARIABLE, ""))
    candidates = [s for s in (*BUILT_IN_KERNELS, *specs) if device_type in s.devices]
    candidates = [s for s in candidates if not s.dtypes or dtype in s.dtypes]
    callables: dict[str, Any] = {}
    choices = []
    failures: dict[str, str] = {}
    for op in OPS:
        matching = _matching(op, candidates, overrides.get(op))
        needed = quantized_kv if op in KV_OPS else None
        callables[op], choice = _choose(op, matching, op in overrides, needed, failures)
        choices.append(choice)
    for reason, backend in failures.items():
        _log.warning("kernels %s are not used: %s", backend, reason)
    return KernelTable(**callables, choices=tuple(choices))


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


def _matching(op: str, candidates: Sequence[KernelSpec], backend: str | None) -> list[KernelSpec]:
    """The best first."""
    matching = [s for s in candidates if s.op == op and backend in (None, s.backend)]
    if not matching:
        known = ", ".join(s.backend for s in candidates if s.op == op)
        raise KernelError(
            f"{OVERRIDE_VARIABLE}: no backend {backend!r} for {op}; there are: {known}"
        )
    return sorted(matching, key=lambda spec: -spec.priority)


def _choose(
    op: str,
    matching: Sequence[KernelSpec],
    asked: bool,
    quantized_kv: str | None,
    failures: dict[str, str],
) -> tuple[Callable[..., Any], KernelChoice]:
    """The first that can be used; what went wrong with others is added to failures."""
    others = ", ".join(spec.backend for spec in matching[1:])
    why = f"preferred to {others}" if others else "the only one here"
    if asked:
        why = f"{OVERRIDE_VARIABLE} asks for it"
    for spec in matching:
        try:
            _check_takes(spec, quantized_kv)
            function = _import(spec.load)
            variant = _import(spec.variant)() if spec.variant else ""
            tuning = tuple(_import(spec.tuning)()) if spec.tuning else ()
        except (KernelError, ImportError) as error:
            if asked:
                raise
            failures[str(error)] = spec.backend
            why = f"{spec.backend} can't be used: {error}"
        else:
            return function, KernelChoice(op, spec.backend, variant, why, tuning)
    raise KernelError(f"no implementation of {op} can be loaded")


def _check_takes(spec: KernelSpec, quantized_kv: str | None) -> None:
    if quantized_kv is not None and quantized_kv not in spec.quantized_kv:
        raise KernelError(f"{spec.name} does not take a KV cache of {quantized_kv}")


def _import(place: str) -> Callable[..., Any]:
    module, _, attribute = place.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return function
