"""Patterns against Python's own glob."""

from __future__ import annotations

import glob
import os
import tarfile
from pathlib import Path

import pytest
from octavo.app.captioning.picture import Skip
from octavo.app.captioning.sources.globs import Glob
from source_files import find, names, picture_file, skips

FILES = (
    "a.png 2.png 10.jpg sub/b.png sub/c.jpg sub/deep/d.png sub/deep/er/e.png .hid/f.png .g.png "
    "other[1]/h.png other[1]/*.png x.txt"
)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for file in FILES.split():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(picture_file())
    (tmp_path / "sub" / "up").symlink_to("..")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    [
        *("*.png", "*", "?.png", "[a-b].png", "[!a].png", "sub/*.jpg", "sub/*/*.png", ".*.png"),
        *("s*/d*/*", "./*.png", "no*/x", "**/er/*.png", "sub/d*/er/[e].png", "*/h.png"),
        *("*/*/*", "s*/up/s*/*.png"),
    ],
)
def test_the_same_as_glob(tree: Path, pattern: str) -> None:
    for full in (pattern, str(tree / pattern)):
        matches = [match for match in Glob(full).matches() if not isinstance(match, Skip)]
        expected = glob.glob(full, recursive=True)
        if "**" in pattern:  # links are followed once
            expected = [path for path in expected if "/up/" not in path]
        assert sorted(path for path, _ in matches) == sorted(expected)
        assert all(os.path.isdir(path) == is_folder for path, is_folder in matches)


def test_any_number_of_folders_and_each_once(tree: Path) -> None:
    found = find(["**/*.png"])
    assert names(found) == [
        *("2.png", "a.png", "other[1]/*.png", "other[1]/h.png"),
        *("sub/b.png", "sub/deep/d.png", "sub/deep/er/e.png"),
    ]
    assert names(find(["sub/**"])) == [
        "sub/b.png", "sub/c.jpg", "sub/deep/d.png", "sub/deep/er/e.png",
        "sub/up/2.png", "sub/up/10.jpg", "sub/up/a.png", "sub/up/x.txt",
        "sub/up/other[1]/*.png", "sub/up/other[1]/h.png",
    ]  # fmt: skip


def test_a_name_that_exists_is_no_pattern(tree: Path) -> None:
    assert names(find(["other[1]/*.png"])) == ["other[1]/*.png"]
    assert names(find(["other[1]"])) == ["other[1]/*.png", "other[1]/h.png"]


def test_folders_that_match_are_listed_and_files_are_found_rather_than_named(tree: Path) -> None:
    found = find(["sub/*", "s*"])
    assert names(found) == [
        *("sub/b.png", "sub/c.jpg", "sub/deep/d.png", "sub/deep/er/e.png"),
        *("sub/up/2.png", "sub/up/10.jpg", "sub/up/a.png", "sub/up/x.txt"),
        *("sub/up/other[1]/*.png", "sub/up/other[1]/h.png"),
    ]
    assert ("listed twice", "sub/up/sub/b.png") in skips(found)
    assert not any(item.was_named for item in found if not isinstance(item, Skip))


def test_archives_are_opened_if_the_pattern_names_them(tree: Path) -> None:
    for number in (10, 2):
        with tarfile.open(f"shard-{number}.tar", "w") as archive:
            archive.add("a.png")
    assert names(find(["shard-*.tar"])) == ["shard-2.tar!a.png", "shard-10.tar!a.png"]
    assert names(find(["shard*"])) == ["shard-2.tar", "shard-10.tar"]
