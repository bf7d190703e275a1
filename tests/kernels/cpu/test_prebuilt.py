"""Libraries that a wheel ships are used without a compiler, and only for what they were made of."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest
from cpu_kernels.levels import OWN, isa_named
from octavo.kernels.cpu import build, load
from octavo.kernels.cpu.compiler import CompilerMissingError, find_compiler
from octavo.kernels.cpu.isa import choose_isa
from octavo.kernels.cpu.prebuilt import prebuild
from octavo.kernels.cpu.recipe import Recipe
from octavo.kernels.prebuild import recipes
from octavo.kernels.resize.compiled_passes import CompiledPasses

QUICK = ("-O0", "-fno-openmp")


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A library of one function, which returns 1."""
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "installed" / "src"
    folder.mkdir(parents=True)
    (folder / "one.cpp").write_text(function_returning(1))
    find_compiler.cache_clear()
    yield folder
    find_compiler.cache_clear()


def function_returning(value: int) -> str:
    export = '__attribute__((visibility("default")))'
    return f'extern "C" {export} int value() {{ return {value}; }}\n'


def value_of(library: Path) -> object:
    return ctypes.CDLL(str(library)).value()


def without_compiler(monkeypatch: pytest.MonkeyPatch, empty: Path) -> None:
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.delenv("CXX", raising=False)
    find_compiler.cache_clear()


def test_a_shipped_library_needs_no_compiler(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = prebuild(Recipe(sources, OWN.base, QUICK))
    without_compiler(monkeypatch, tmp_path)
    assert build.build_library(OWN.base, QUICK, sources) == shipped
    assert value_of(shipped) == 1
    # Neither another level of instructions nor other flags get it.
    other = "avx2" if OWN.base.name == "baseline" else "baseline"
    for isa, flags in ((isa_named(other), QUICK), (OWN.base, (*QUICK, "-DOTHER"))):
        with pytest.raises(CompilerMissingError):
            build.build_library(isa, flags, sources)


def test_a_shipped_library_of_other_sources_is_not_used(sources: Path, tmp_path: Path) -> None:
    shipped = prebuild(Recipe(sources, OWN.base, QUICK))
    (sources / "one.cpp").write_text(function_returning(2))
    library = build.build_library(OWN.base, QUICK, sources)
    assert library != shipped
    assert tmp_path / "cache" in library.parents
    assert value_of(library) == 2


def test_what_is_shipped_is_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def find_nothing(recipe: Recipe) -> None:
        asked.append(recipe)

    monkeypatch.setattr(build, "find_prebuilt", find_nothing)
    load._load.__wrapped__()
    CompiledPasses()
    own = [recipe for recipe in recipes() if recipe.isa == choose_isa()]
    assert [recipe.name() for recipe in asked] == [recipe.name() for recipe in own]
