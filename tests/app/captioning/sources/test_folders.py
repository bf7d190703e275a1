"""Folders with whatever may lie in them."""

from __future__ import annotations

import inspect
import os
import pickle
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from octavo.app.captioning.picture import FileAt, Picture, Skip, printable
from octavo.app.captioning.sources import listed_once
from octavo.app.captioning.sources.find import find_pictures
from octavo.app.captioning.sources.options import SourceOptions
from source_files import find, names, picture_file, pictures, reading, skips


def put(folder: Path, *files: str) -> None:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture_file())


def test_the_files_of_a_folder_come_before_its_folders_in_natural_order(tmp_path: Path) -> None:
    put(
        tmp_path,
        "10.png",
        "9.png",
        "b/2.png",
        "b/a/1.png",
        "B10/1.png",
        "b9/1.png",
        "notes",
        "z.txt",
    )
    found = find([tmp_path])
    assert names(found, tmp_path) == [
        *("9.png", "10.png", "notes", "z.txt"),
        *("b/2.png", "b/a/1.png", "b9/1.png", "B10/1.png"),
    ]
    assert all(not picture.was_named for picture in pictures(found))
    assert all(picture.at == FileAt(picture.name) for picture in pictures(found))


def test_names_of_any_bytes(tmp_path: Path) -> None:
    raw = [b"\xff\xfe.png", "снимок 1.png".encode(), b"new\nline.png", b"-rf.png", b"$(x) *.png"]
    for name in raw:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(picture_file())
    found = pictures(find([tmp_path]))
    assert {os.path.basename(os.fsencode(picture.name)) for picture in found} == set(raw)
    assert all(reading(picture) == picture_file() for picture in found)
    assert f"{tmp_path}/\\xff\\xfe.png" in [printable(picture.name) for picture in found]


def test_hidden_ones_are_counted_and_not_looked_into(tmp_path: Path) -> None:
    put(tmp_path, "a.png", ".b.png", ".thumbs/c.png", "@eaDir/d.png", "__MACOSX/e.png")
    found = find([tmp_path])
    assert names(found, tmp_path) == ["a.png"]
    assert sorted(skips(found, tmp_path)) == [
        ("hidden", name) for name in (".b.png", ".thumbs", "@eaDir", "__MACOSX")
    ]


def test_a_hidden_folder_that_is_named_is_listed(tmp_path: Path) -> None:
    put(tmp_path, ".thumbs/c.png")
    assert names(find([tmp_path / ".thumbs"]), tmp_path) == [".thumbs/c.png"]


def test_what_is_no_regular_file_is_skipped_by_its_kind(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        (tmp_path / "null.png").symlink_to("/dev/null")
        (tmp_path / "broken.png").symlink_to("nowhere.png")
        (tmp_path / "itself.png").symlink_to("itself.png")
        (tmp_path / "pipe link.png").symlink_to("pipe.png")
        found = find([tmp_path])
    assert names(found, tmp_path) == ["a.png"]
    assert sorted(skips(found, tmp_path)) == [
        ("FIFO", "pipe link.png"),
        ("FIFO", "pipe.png"),
        ("broken link", "broken.png"),
        ("broken link", "itself.png"),
        ("device", "null.png"),
        ("socket", "socket.png"),
    ]


def test_links_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path, "photos/a.png", "photos/deep/b.png", "outside/c.png", "other/.d.png")
    photos = tmp_path / "photos"
    (photos / "loop").symlink_to("..")
    (photos / "deep" / "up").symlink_to("..")
    (photos / "also a.png").symlink_to("a.png")
    (photos / "hidden elsewhere.png").symlink_to("../other/.d.png")
    found = find([photos])
    assert names(found, photos) == [
        *("a.png", "hidden elsewhere.png", "deep/b.png"),
        "loop/outside/c.png",
    ]
    assert sorted(skips(found, photos)) == [
        ("hidden", "loop/other/.d.png"),
        ("listed twice", "also a.png"),
        ("listed twice", "deep/up"),
        ("listed twice", "loop/photos"),
    ]


def test_each_file_once_however_it_is_named(tmp_path: Path) -> None:
    put(tmp_path, "photos/a.png", "photos/b.png", "photos/.c.png")
    photos = tmp_path / "photos"
    link = tmp_path / "link.png"
    link.symlink_to("photos/b.png")
    os.link(photos / "a.png", tmp_path / "hard link.png")
    named = [link, photos / ".." / "photos" / "a.png", photos, photos / "b.png", photos / ".c.png"]
    found = find([*named, photos, tmp_path / "hard link.png"])
    assert names(found, tmp_path) == [
        *("link.png", "photos/../photos/a.png", "photos/.c.png", "hard link.png")
    ]
    assert skips(found, tmp_path) == [
        ("hidden", "photos/.c.png"),
        ("listed twice", "photos/a.png"),
        ("listed twice", "photos/b.png"),
        ("listed twice", "photos/b.png"),
        ("listed twice", "photos"),
    ]


def test_so_many_files_are_remembered_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "1.png", "2.png", "3.png")
    files = [tmp_path / f"{number}.png" for number in (1, 2, 3)]
    monkeypatch.setattr(listed_once, "_MAX_FILES", 2)
    assert names(find([*files, *files]), tmp_path) == ["1.png", "2.png", "3.png", "3.png"]
    # Of a folder that is listed as a whole, none need be.
    assert names(find([tmp_path, *files]), tmp_path) == ["1.png", "2.png", "3.png"]


def test_pictures_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    put(tmp_path, "1.png")
    found = find([tmp_path])
    assert pickle.loads(pickle.dumps(found)) == found


def test_a_folder_that_goes_away_meanwhile_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b/c.png", "d/e.png")
    found = find_pictures([str(tmp_path)], SourceOptions())
    first = next(found)
    shutil.rmtree(tmp_path / "b")
    rest = list(found)
    assert names([first, *rest], tmp_path) == ["a.png", "d/e.png"]
    assert skips(rest, tmp_path) == [("unreadable folder", "b")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every folder")
def test_an_unreadable_folder_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b/c.png", "d/e.png")
    (tmp_path / "b").chmod(0)
    found = find([tmp_path])
    (tmp_path / "b").chmod(0o700)
    assert names(found, tmp_path) == ["a.png", "d/e.png"]
    assert skips(found, tmp_path) == [("unreadable folder", "b")]


def test_a_deep_tree_is_listed_folder_by_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in range(20):
        put(tmp_path, f"{folder}/a.png")
    (tmp_path / "19" / "/".join("x" * 150)).mkdir(parents=True)
    scanned = []
    scandir = os.scandir

    def counting(path: str) -> Iterator[os.DirEntry[str]]:
        scanned.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counting)
    found = find_pictures([str(tmp_path)], SourceOptions())
    assert isinstance(next(found), Picture)
    assert len(scanned) == 2
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)  # a folder takes none
    try:
        rest = list(found)
    finally:
        sys.setrecursionlimit(limit)
    assert not any(isinstance(item, Skip) for item in rest)
    assert len(pictures(rest)) == 19
    assert len(scanned) == 1 + 20 + 150
