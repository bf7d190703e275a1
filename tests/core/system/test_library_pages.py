"""Libraries keep working when the pages that were read of them are let go."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import torch
from octavo.core.system.library_pages import unmap_read_pages


def kib_of_torch() -> Counter[str]:
    """The kibibytes of torch's own library by field of the kernel's table."""
    counted: Counter[str] = Counter()
    counts = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            counts = line.endswith("/libtorch_cpu.so")
        elif counts and line.endswith(" kB"):
            name, _, size = line.partition(":")
            counted[name] += int(size.split()[0])
    return counted


def test_pages_of_files_alone_are_let_go() -> None:
    matrix = torch.arange(64.0).reshape(8, 8)
    expected = torch.linalg.inv(matrix + torch.eye(8))
    before = kib_of_torch()
    assert unmap_read_pages() > 0
    after = kib_of_torch()
    assert after["Rss"] < before["Rss"]
    # What differs from the file is the only copy.
    assert after["Anonymous"] == before["Anonymous"] > 0
    assert torch.equal(torch.linalg.inv(matrix + torch.eye(8)), expected)
