"""Limits of a control group, as both versions of the kernel's interface tell of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from octavo.core.system import control_group

GIB = 2**30
#: Six GiB are used, five of them by files that were read.
VERSION_2 = {
    "memory.max": f"{8 * GIB}\n",
    "memory.current": f"{6 * GIB}\n",
    "memory.stat": f"anon {GIB}\nfile {5 * GIB}\ninactive_file {3 * GIB}\nactive_file {2 * GIB}\n",
    "cpu.max": "150000 100000\n",
}
VERSION_1 = {
    "memory/memory.limit_in_bytes": f"{8 * GIB}\n",
    "memory/memory.usage_in_bytes": f"{6 * GIB}\n",
    "memory/memory.stat": (
        f"cache {GIB}\ninactive_file 0\nactive_file {GIB}\n"
        f"total_inactive_file {3 * GIB}\ntotal_active_file {2 * GIB}\n"
    ),
    "cpu/cpu.cfs_quota_us": "150000\n",
    "cpu/cpu.cfs_period_us": "100000\n",
}
UNLIMITED = (
    {**VERSION_2, "memory.max": "max\n", "cpu.max": "max 100000\n"},
    {
        **VERSION_1,
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "cpu/cpu.cfs_quota_us": "-1\n",
    },
    {},
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(control_group, "_ROOT", tmp_path)
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize("files", [VERSION_2, VERSION_1])
def test_files_that_were_read_make_room(root: Path, files: dict[str, str]) -> None:
    write(root, files)
    assert control_group.memory_limit() == 8 * GIB
    assert control_group.memory_room() == 7 * GIB
    assert control_group.processor_quota() == 1.5


@pytest.mark.parametrize("files", UNLIMITED)
def test_no_limit(root: Path, files: dict[str, str]) -> None:
    write(root, files)
    assert control_group.memory_limit() is None
    assert control_group.memory_room() is None
    assert control_group.processor_quota() is None
