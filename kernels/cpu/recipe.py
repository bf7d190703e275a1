"""What a library of kernels is made of, and the name that follows from it."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path

from .isa import Isa

_FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fopenmp",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-Werror=switch",
)


@dataclass(frozen=True)
class Recipe:
    """A folder of C++ sources, the level of instructions that they are compiled for, and flags
    beside the usual ones."""

    sources: Path
    isa: Isa
    extra_flags: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """All flags of the compiler."""
        return (*_FLAGS, *self.isa.flags, *self.extra_flags)

    @property
    def title(self) -> str:
        """What messages call the library, such as "cpu kernels for avx512"."""
        return f"{self.sources.parent.name} kernels for {self.isa.name}"

    def name(self, compiler_version: str = "") -> str:
        """A name that no library from other sources, flags or, if given, another compiler has, and
        none of another architecture, as a cache may be shared."""
        made_by = (platform.machine(), *self.flags, compiler_version)
        digest = hashlib.sha256("\0".join(made_by).encode())
        for source in sorted(self.sources.iterdir()):
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
        return f"{digest.hexdigest()[:16]}-{self.isa.name}"
