"""On what and when something was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..kernels.processor import cpu_info, processor_features

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("octavo", "torch", "transformers", "numpy")
#: Instructions that kernels are chosen by, as Linux names them on x86 and ARM.
_ISA_FLAGS = (
    *("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "bf16", "i8mm", "sve", "sve2"),
)


def describe_machine() -> str:
    """Processor, cores, versions and the date, in one line."""
    facts = machine_facts()
    isa = ", ".join(facts["isa"]) or "no vector instructions known"
    return (
        f"{facts['cpu']} ({isa}), {facts['cores']} cores, {facts['memory_gib']} GiB, "
        f"torch {facts['versions'].get('torch')}, {datetime.now(UTC).date()}"
    )


def machine_facts() -> dict[str, Any]:
    """For results: cpu, cores that may be used, isa, memory_gib, system, python, versions of
    packages, and the git revision of this code if it is a checkout."""
    info, features = cpu_info(), processor_features()
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "isa": [flag for flag in _ISA_FLAGS if flag in features],
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "revision": git_revision(_ROOT),
    }


def git_revision(folder: Path) -> str | None:
    """The commit that a checkout stands at, with "+changes" if files differ from it; None for a
    folder that is no checkout of its own."""
    if not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
