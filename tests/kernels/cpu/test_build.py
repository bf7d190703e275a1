"""Compiling the kernels at first use, and what happens where that can't be."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cpu_kernels import levels
from cpu_kernels.levels import OWN, isa_named
from cpu_kernels.small_sources import small_sources
from octavo.kernels.cpu import build, library
from octavo.kernels.cpu.compiler import CompilerMissingError, find_compiler
from octavo.kernels.cpu.isa import LEVELS, Isa, choose_isa
from octavo.kernels.cpu.recipe import Recipe
from octavo.kernels.processor import processor_features
from octavo.kernels.spec import KernelError

#: Levels that the checks of operations compile so that no warning passes.
CHECKED = {each.base.name for each in levels.LEVELS if each.flags == levels.QUICK and each.usable}
RESOLVE = """
import logging
logging.basicConfig(format="%(levelname)s %(message)s")
from octavo import LLM, SamplingParams
llm = LLM(dtype="float32", kv_cache_memory=16 * 2**20)
output = llm.generate(["a"], SamplingParams(temperature=0, max_tokens=3, ignore_eos=True))
print(len(output[0].outputs[0].token_ids))
from octavo.kernels.dispatch import resolve_kernels
print(sorted(set(resolve_kernels().backends.values())))
"""


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    find_compiler.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize(
    "level", [each for each in LEVELS if each.name not in CHECKED], ids=lambda level: level.name
)
def test_every_other_level_compiles_without_a_warning(
    level: Isa, test_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(test_cache))
    assert build.build_library(level, ("-O0", "-Werror")).stat().st_size > 0


def test_two_builds_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(tmp_path / "cache"))
    sources = small_sources(tmp_path)
    code = (
        "import ctypes\n"
        "from octavo.kernels.cpu.build import build_library\n"
        "from octavo.kernels.cpu.isa import LEVELS\n"
        "from pathlib import Path\n"
        f"path = build_library(LEVELS[-1], (), Path({str(sources)!r}))\n"
        "print(path, ctypes.CDLL(str(path)).one())\n"
    )
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda _: run_python(code), range(2)))
    assert [run.returncode for run in runs] == [0, 0], runs
    # Nothing is left but the library, which is not compiled again.
    (built,) = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert [run.stdout for run in runs] == [f"{built} 1\n"] * 2
    written = built.stat().st_mtime_ns
    assert build.build_library(isa_named("baseline"), (), sources) == built
    assert built.stat().st_mtime_ns == written


def test_what_the_compiler_says_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "g++-broken"
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo broken 1.0 && exit\n'
        "echo no more room >&2; exit 1\n"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(KernelError, match=r"can't compile the cpu kernels for \w+: no more room$"):
        build.build_library(OWN.base)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_another_compiler_flag_or_source_gives_another_library(tmp_path: Path) -> None:
    (tmp_path / "one.cpp").write_text("int one() { return 1; }")

    def names() -> set[str]:
        recipes = [Recipe(tmp_path, level, flags) for level in LEVELS for flags in ((), ("-O1",))]
        return {recipe.name(version) for recipe in recipes for version in ("", "a", "b")}

    before = names()
    assert len(before) == len(LEVELS) * 2 * 3
    (tmp_path / "one.cpp").write_text("int one() { return 2; }")
    assert not before & names()


def test_a_library_with_other_structures_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Longer(library.WeightStruct):
        _fields_ = (("one_more", ctypes.c_int64),)

    path = build.build_library(OWN.base)
    assert library.open_library(path)
    monkeypatch.setitem(library._STRUCTURES, "Weight", Longer)
    with pytest.raises(KernelError, match=r"its Weight takes 80 bytes instead of 88; delete that"):
        library.open_library(path)


def test_models_run_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("OCTAVO_KERNELS", raising=False)
    with pytest.raises(CompilerMissingError, match="apt install g"):
        build.build_library(OWN.base)
    run = run_python(RESOLVE)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-2:] == ["3", "['numpy', 'reference']"]
    warnings = [line for line in run.stderr.splitlines() if "no GNU C++ compiler" in line]
    # One for the engine, one for the table that is resolved afterwards.
    assert len(warnings) == 2, run.stderr
    assert all(line.startswith("WARNING kernels cpu are not used") for line in warnings)


def test_the_level_may_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for level in LEVELS:
        monkeypatch.setenv("OCTAVO_CPU_ISA", level.name)
        if level.features <= processor_features():
            assert choose_isa() == level
        else:
            with pytest.raises(KernelError, match=f"'{level.name}' can't be used here"):
                choose_isa()
    monkeypatch.setenv("OCTAVO_CPU_ISA", "sse9")
    with pytest.raises(
        KernelError, match=r"OCTAVO_CPU_ISA: 'sse9' can't be used here; usable: .*baseline"
    ):
        choose_isa()
    monkeypatch.delenv("OCTAVO_CPU_ISA")
    assert choose_isa().features <= processor_features()


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=False
    )
