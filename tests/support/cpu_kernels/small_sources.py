"""Kernels of one line, where it is the compiling that is checked and not what comes of it."""

from __future__ import annotations

from pathlib import Path

_ONE = 'extern "C" __attribute__((visibility("default"))) int one() { return 1; }\n'


def small_sources(folder: Path) -> Path:
    """A folder of sources, made in `folder`; its library's function `one` returns 1."""
    sources = folder / "kernels" / "src"
    sources.mkdir(parents=True)
    (sources / "one.cpp").write_text(_ONE)
    return sources
