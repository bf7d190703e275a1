"""Packed weights share chunks of memory without touching one another's part."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from octavo.kernels.cpu.memory import WeightMemory

MIB = 1 << 20


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 300), st.integers(20 * MIB, 40 * MIB)), max_size=12))
def test_parts_are_apart_and_begin_at_cache_lines(sizes: list[int]) -> None:
    memory = WeightMemory()
    parts = [memory.allocate(size) for size in sizes]
    for i, part in enumerate(parts):
        part.fill_(i)
    for i, (size, part) in enumerate(zip(sizes, parts, strict=True)):
        assert len(part) == size
        assert part.data_ptr() % 64 == 0 or not size
        assert bool((part == i).all())


def test_it_lies_in_huge_pages() -> None:
    modes = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not modes.exists() or "[never]" in modes.read_text():
        pytest.skip("this system has no huge pages to ask for")
    part = WeightMemory().allocate(5 * MIB)
    assert "hg" in mapping_flags(part.data_ptr())


def mapping_flags(address: int) -> list[str]:
    """What the kernel was told of the mapping that holds an address."""
    within = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            start, end = (int(bound, 16) for bound in first.split("-"))
            within = start <= address < end
        elif within and first == "VmFlags:":
            return line.split()[1:]
    raise AssertionError("the address is not mapped")
