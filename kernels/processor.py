"""Facts of the processor, as Linux gives them in /proc/cpuinfo; imports no torch."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

#: Flags of AMX, AVX-512 and NEON.
_BF16 = {"amx_bf16", "avx512_bf16", "bf16"}


@cache
def cpu_info() -> dict[str, str]:
    """Fields of the first processor, such as "model name"; none where the file is missing."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def processor_features() -> frozenset[str]:
    """Names of its instruction sets; "flags" is x86's field, "Features" is ARM's."""
    info = cpu_info()
    return frozenset((info.get("flags") or info.get("Features") or "").split())


def has_bf16() -> bool:
    """Whether it computes in bfloat16."""
    return not _BF16.isdisjoint(processor_features())


def processor_identity() -> str:
    """Fields that tell processors apart: name, model, caches and instructions."""
    names = ("vendor_id", "cpu family", "model", "model name", "stepping", "cache size", "flags")
    return "\n".join((platform.machine(), *(cpu_info().get(name, "") for name in names)))
