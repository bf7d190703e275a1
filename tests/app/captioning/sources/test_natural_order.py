"""Names in the order that people sort them in."""

from __future__ import annotations

import random
import tracemalloc
from itertools import groupby

import pytest
from octavo.app.captioning.sources import natural_order
from octavo.app.captioning.sources.natural_order import SortedNames, natural_key


def in_order(names: list[str]) -> list[str]:
    sorted_names = SortedNames()
    for name in names:
        sorted_names.add(name)
    return list(sorted_names)


@pytest.mark.parametrize(
    "names",
    [
        ["img1.jpg", "img2.jpg", "img10.jpg", "img100.jpg"],
        ["a.jpg", "B.jpg", "c.jpg"],
        ["IMG_2 (1).jpg", "IMG_2 (2).jpg", "IMG_2 (10).jpg"],
        ["v1.9", "v1.10", "v2.0"],
        ["ecole", "École 2", "école 10", "edition", "zoo"],
        ["x0", "x00", "x01", "x1"],
        ["7", "008", "9", f"1{'0' * 200}", f"2{'0' * 200}"],
        ["a\n2", "a\n10"],
        [
            b"f\xff2".decode("utf-8", "surrogateescape"),
            b"f\xff10".decode("utf-8", "surrogateescape"),
        ],
    ],
)
def test_as_people_sort(names: list[str]) -> None:
    for seed in range(5):
        shuffled = random.Random(seed).sample(names, len(names))
        assert in_order(shuffled) == names


def plainly(name: str) -> list[tuple[int, int, str]]:
    """An independent statement of the order: parts are compared, numbers before letters."""
    return [
        (0, int("".join(part)), "") if is_number else (1, 0, "".join(part))
        for is_number, part in groupby(name.lower(), str.isdigit)
    ]


def test_as_numbers_and_letters_compare() -> None:
    random_of = random.Random(3)
    names = {"".join(random_of.choices("aB019", k=random_of.randint(1, 12))) for _ in range(2000)}
    ours = sorted(names, key=natural_key)
    assert [plainly(name) for name in ours] == sorted(map(plainly, names))
    assert len({natural_key(name) for name in names}) == len(names)


def test_runs_are_merged_into_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    random_of = random.Random(4)
    names = [f"{random_of.choice('äbÉ')}{random_of.randint(0, 999)}\udcff.png" for _ in range(500)]
    expected = sorted(names, key=natural_key)
    monkeypatch.setattr(natural_order, "_RUN", 64)
    assert in_order(names) == expected
    assert in_order(names[:128]) == sorted(names[:128], key=natural_key)
    assert in_order([]) == []


def test_memory_is_that_of_the_names_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(natural_order, "_RUN", 2**10)
    number = 30_000
    tracemalloc.start()
    try:
        sorted_names = SortedNames()
        for index in range(number):
            sorted_names.add(f"a long name of a photograph, {index:012}.jpeg")
        assert sum(1 for _ in sorted_names) == number
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < number * 46 + 2**20  # an object for each would take 100 bytes and more
