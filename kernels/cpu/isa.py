"""Which instructions the processor has, and how a compiler is told of them."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..spec import KernelError

ISA_VARIABLE = "OCTAVO_CPU_ISA"


@dataclass(frozen=True)
class Isa:
    """A level of instructions: its name, what /proc/cpuinfo calls what it needs, and the
    compiler's flags."""

    name: str
    features: frozenset[str]
    flags: tuple[str, ...]


_AVX2 = frozenset({"avx2", "fma", "f16c", "bmi2"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}
_BF16 = _AVX512 | {"avx512_bf16"}
_AMX = _BF16 | {"amx_tile", "amx_bf16", "amx_int8"}
_V4 = ("-march=x86-64-v4", "-mavx512vnni")

#: The best first. The last asks nothing of the processor but what its compiler assumes anyway.
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


@cache
def processor_features() -> frozenset[str]:
    """The features that the kernel lists for this processor; none where it lists none."""
    if platform.machine() != "x86_64":
        return frozenset()
    return frozenset(_first_of_cpuinfo("flags").split())


def processor_identity() -> str:
    """What tells processors apart: name, model, caches and instructions, as far as the kernel
    says."""
    names = ("vendor_id", "cpu family", "model", "model name", "stepping", "cache size", "flags")
    return "\n".join((platform.machine(), *map(_first_of_cpuinfo, names)))


def _first_of_cpuinfo(name: str) -> str:
    """The value of the first line of /proc/cpuinfo with this name, or nothing."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return ""
    lines = (line.partition(":") for line in info.read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "")


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
