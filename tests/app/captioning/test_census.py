"""What was skipped, counted by kind."""

from __future__ import annotations

from octavo.app.captioning.census import MAX_KINDS, MAX_NAMES, Census
from octavo.app.captioning.picture import Skip


def test_kinds_with_numbers_and_a_name() -> None:
    census = Census()
    for kind, name in [("FIFO", "pipe\n.png"), ("hidden", "a/.b"), ("hidden", "a/.c\udcff")]:
        census.add(Skip(kind, name))
    assert census.lines() == [
        "skipped 2 (hidden): such as a/.b",
        "skipped 1 (FIFO): pipe?.png",
    ]
    assert census.to_json() == {"FIFO": 1, "hidden": 2}
    assert sum(census.to_json().values()) == 3
    assert census.kinds["hidden"].names == ["a/.b", "a/.c\udcff"]


def test_nothing() -> None:
    assert Census().lines() == []


def test_its_memory_is_bounded() -> None:
    census = Census()
    for i in range(100_000):
        census.add(Skip(f".{i % 1000} files", str(i)))
    assert len(census.kinds) == MAX_KINDS + 1
    assert all(len(count.names) == MAX_NAMES for count in census.kinds.values())
    assert census.kinds["other kinds"].number == 100 * (1000 - MAX_KINDS)
    assert sum(census.to_json().values()) == 100_000
    assert census.lines()[0] == "skipped 90,000 (other kinds): such as 100"
    assert census.lines()[-1] == "skipped 8,900 more, of 89 other kinds"
