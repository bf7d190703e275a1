"""Builds of the kernels: as this processor runs them, with fewer instructions, and with those that
it may lack emulated."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from octavo.kernels.cpu import decoder, encoder, isa, library, ops, packing, sampling
from octavo.kernels.cpu.build import build_library
from octavo.kernels.cpu.isa import Isa
from octavo.kernels.cpu.tuning import Tuning
from octavo.kernels.cpu.weight_format import Format
from octavo.kernels.processor import processor_features

AVX512_HEADER = Path(__file__).parent / "emulated_avx512.h"
_AVX512_FLAGS = (
    *("-include", str(AVX512_HEADER)),
    # A build is known by its flags, so they tell of the header's contents.
    f"-DEMULATION={hashlib.sha256(AVX512_HEADER.read_bytes()).hexdigest()[:16]}",
    *("-DOCTAVO_AVX512", "-DOCTAVO_VNNI", "-DOCTAVO_BF16"),
    "-Wno-psabi",
)
#: No warning passes.
QUICK = ("-Werror", "-O2")
#: Tuning that no machine may choose by itself: streamed weights, and tiles for every format.
ALL_WAYS = Tuning(stream_weights=True, tile_rows={format.name.lower(): 5 for format in Format})


def isa_named(name: str) -> Isa:
    return next(level for level in isa.LEVELS if level.name == name)


@dataclass(frozen=True)
class Level:
    """A build of the kernels. base: the level that it is compiled for."""

    name: str
    base: Isa
    flags: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether this processor can run it."""
        return self.base.features <= processor_features()

    @property
    def bf16_products(self) -> bool:
        """Whether it rounds to bfloat16 what it multiplies with bfloat16, if results are so too."""
        return "-DOCTAVO_BF16" in self.flags or "avx512_bf16" in self.base.features


#: Build that users get.
OWN = Level("own", isa.choose_isa())
_AVX2 = Level("avx2", isa_named("avx2"), QUICK)
_AVX512 = Level("emulated-avx512", isa_named("avx2"), (*QUICK, *_AVX512_FLAGS))
_AMX = Level(
    "emulated-amx",
    isa_named("avx2"),
    (*QUICK, *_AVX512_FLAGS, "-DOCTAVO_TILES", "-DOCTAVO_EMULATE_AMX", "-Og"),
)
LEVELS = (
    OWN,
    Level("baseline", isa_named("baseline"), QUICK),
    # What the processor has, OWN tests; AVX2 it doesn't, then.
    _AVX2 if OWN.base.name in ("avx512_bf16", "amx") else _AVX512,
    *(() if OWN.base.name == "amx" else (_AMX,)),
)


def build_level(level: Level, extra_flags: tuple[str, ...] = ()) -> Path:
    return build_library(level.base, (*level.flags, *extra_flags))


def use_library(path: Path, patch: pytest.MonkeyPatch) -> None:
    """Every operation calls this build from now on."""
    opened = library.open_library(path)
    ALL_WAYS.apply(opened)
    for module in (ops, decoder, encoder, sampling):
        patch.setattr(module, "_library", opened)
    patch.setattr(packing, "load_library", lambda: opened)


def wanted_flags() -> tuple[str, ...]:
    """Additional flags of every build, such as those of sanitizers."""
    return tuple(os.environ.get("OCTAVO_TEST_KERNEL_FLAGS", "").split())
