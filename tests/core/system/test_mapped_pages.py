"""Files keep their contents when the pages that were read of them are let go."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from octavo.core.system import mapped_pages
from octavo.core.system.mapped_pages import unmap_read_pages
from safetensors.torch import load_file, save_file


@pytest.fixture(autouse=True)
def as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process may have let go of pages."""
    monkeypatch.setattr(mapped_pages._Held, "before", 0)


def kib_of(file: str) -> Counter[str]:
    """The kibibytes of a file's mappings by field of the kernel's table."""
    counted: Counter[str] = Counter()
    counts = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            counts = line.endswith(file)
        elif counts and line.endswith(" kB"):
            name, _, size = line.partition(":")
            counted[name] += int(size.split()[0])
    return counted


def test_pages_of_files_alone_are_let_go() -> None:
    matrix = torch.arange(64.0).reshape(8, 8)
    expected = torch.linalg.inv(matrix + torch.eye(8))
    before = kib_of("/libtorch_cpu.so")
    assert unmap_read_pages() > 0
    after = kib_of("/libtorch_cpu.so")
    assert after["Rss"] < before["Rss"]
    # What differs from the file is the only copy.
    assert after["Anonymous"] == before["Anonymous"] > 0
    assert torch.equal(torch.linalg.inv(matrix + torch.eye(8)), expected)


def test_weights_are_let_go_but_for_what_was_written(tmp_path: Path) -> None:
    stored = torch.arange(1 << 20, dtype=torch.float32)
    for name in ("read", "written"):
        save_file({"weight": stored}, tmp_path / f"{name}.safetensors")
    read, written = (
        load_file(tmp_path / f"{name}.safetensors")["weight"] for name in ("read", "written")
    )
    written[5] = -1
    total = read.sum() + written.sum()
    resident = kib_of("/read.safetensors")["Rss"]
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "read.safetensors")
    unmap_read_pages([tmp_path / "other"])
    assert kib_of("/read.safetensors")["Rss"] == resident
    mapped_pages._Held.before = 0
    assert unmap_read_pages([link.resolve(), tmp_path / "written.safetensors"]) > 0
    assert kib_of("/read.safetensors")["Rss"] < resident
    assert written[5] == -1
    assert torch.equal(read, stored)
    assert read.sum() + written.sum() == total


def test_the_table_is_read_again_where_much_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"weight": torch.zeros(mapped_pages._WORTHWHILE // 4)}, path)
    unmap_read_pages()
    with monkeypatch.context() as patch:
        patch.setattr(mapped_pages, "_mappings", unread)
        assert unmap_read_pages([path]) == 0
    weight = load_file(path)["weight"]
    assert float(weight.sum()) == 0
    assert unmap_read_pages([path]) >= mapped_pages._WORTHWHILE
    assert kib_of("/weights.safetensors")["Rss"] < 1024


def unread(_: object) -> None:
    raise AssertionError("the table is read")
