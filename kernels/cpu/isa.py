"""Levels of instructions, and the compiler's flags for them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..processor import processor_features
from ..spec import KernelError

ISA_VARIABLE = "OCTAVO_CPU_ISA"


@dataclass(frozen=True)
class Isa:
    """A level of instructions: its name, the processor features that it needs, and the compiler's
    flags."""

    name: str
    features: frozenset[str]
    flags: tuple[str, ...]


_AVX2 = frozenset({"avx2", "fma", "f16c", "bmi2"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}
_BF16 = _AVX512 | {"avx512_bf16"}
_AMX = _BF16 | {"amx_tile", "amx_bf16", "amx_int8"}
_V4 = ("-march=x86-64-v4", "-mavx512vnni")

#: Levels, the best first. The last needs only instructions that the compiler assumes anyway.
LEVELS = (
    Isa("amx", _AMX, (*_V4, "-mavx512bf16", "-mamx-tile", "-mamx-bf16", "-mamx-int8")),
    Isa("avx512_bf16", _BF16, (*_V4, "-mavx512bf16")),
    Isa("avx512", _AVX512, _V4),
    Isa("avx2", _AVX2, ("-march=x86-64-v3",)),
    Isa("baseline", frozenset(), ()),
)


def isa_name() -> str:
    """The name of what `choose_isa` chooses."""
    return choose_isa().name


def choose_isa() -> Isa:
    """The best level that the processor has, or the one that `OCTAVO_CPU_ISA` names.

    Raises KernelError for a level that is unknown or that the processor lacks.
    """
    present = processor_features()
    usable = [isa for isa in LEVELS if isa.features <= present]
    wanted = os.environ.get(ISA_VARIABLE)
    if not wanted:
        return usable[0]
    for isa in usable:
        if isa.name == wanted:
            return isa
    names = ", ".join(isa.name for isa in usable)
    raise KernelError(f"{ISA_VARIABLE}: {wanted!r} can't be used here; usable: {names}")
