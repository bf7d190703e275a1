"""Every check of an operation runs on each build of the kernels, with random inputs.

Without a compiler there is nothing to check: each file is skipped by its name.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from octavo.kernels.cpu.compiler import CompilerMissingError, find_compiler
from octavo.kernels.cpu.memory import weight_memory

try:
    find_compiler()
except CompilerMissingError as error:
    LEVELS: tuple[Any, ...] = ()
    MISSING = str(error)
else:
    from cpu_kernels.levels import LEVELS, OWN, Level, build_level, use_library, wanted_flags

    MISSING = ""


class SkippedFile(pytest.Module):
    """A file of checks that can't be made here."""

    def collect(self) -> Iterator[pytest.Item]:
        pytest.skip(MISSING)


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    return SkippedFile.from_parent(parent, path=module_path) if MISSING else None


@pytest.fixture(scope="session")
def test_cache(request: pytest.FixtureRequest) -> Path:
    """Builds for tests are kept apart from the user's, for the next run."""
    cache: Any = request.config.cache
    folder: Path = cache.mkdir("cpu_kernels")
    return folder


@pytest.fixture(scope="session", params=LEVELS, ids=[level.name for level in LEVELS])
def level(request: pytest.FixtureRequest, test_cache: Path) -> Iterator[Level]:
    """The build that operations run on meanwhile."""
    chosen: Level = request.param
    if not chosen.usable:
        pytest.skip(f"this processor can't run {chosen.base.name}")
    with pytest.MonkeyPatch.context() as patch:
        if chosen is not OWN or wanted_flags():
            patch.setenv("OCTAVO_KERNEL_CACHE", str(test_cache))
            use_library(build_level(chosen, wanted_flags()), patch)
        if wanted_flags():  # a sanitizer sees what is read beyond a weight if it lies by itself
            alone = partial(torch.empty, dtype=torch.uint8)
            patch.setattr(weight_memory, "allocate", alone)
        yield chosen


@pytest.fixture(autouse=True)
def seed(request: pytest.FixtureRequest) -> Iterator[int]:
    """OCTAVO_TEST_SEED, or 0; `scripts/soak` gives fresh ones. A failure shows it.

    One test in eight has two threads, others with another seed: where cores are busy with other
    tests, threads wait long for each other.
    """
    value = int(os.environ.get("OCTAVO_TEST_SEED", "0"))
    print(f"OCTAVO_TEST_SEED={value}")
    torch.manual_seed(value)
    random.seed(value)
    threads = torch.get_num_threads()
    has_two = random.Random(f"{value} {request.node.nodeid}").random() < 1 / 8
    torch.set_num_threads(2 if has_two else 1)
    yield value
    torch.set_num_threads(threads)
