"""Wrong sources are told of before anything is loaded; and how many pictures there may be."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from octavo.app.captioning.sources.check import check_sources
from octavo.app.captioning.sources.count import count_candidates
from octavo.app.captioning.sources.options import SourceOptions
from octavo.core.protocol.errors import RequestError
from source_files import find, names, picture_file, pictures, reading, skips


def refusal(*sources: Any, **options: Any) -> str:
    with pytest.raises(RequestError) as info:
        check_sources([str(source) for source in sources], SourceOptions(**options))
    return str(info.value)


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture_file())
    assert "nothing to caption" in refusal()
    assert refusal(tmp_path / "a.png", tmp_path / "b.png") == (
        f"{tmp_path}/b.png: there is no such file or folder"
    )
    assert refusal("") == "'': there is no such file or folder"
    assert "nothing matches" in refusal(tmp_path / "*.jpg")
    (tmp_path / "broken*").symlink_to("nowhere")
    assert "no such file" in refusal(tmp_path / "broken*")
    os.mkfifo(tmp_path / "pipe")
    assert "it is a FIFO" in refusal(tmp_path / "pipe")
    assert "read once" in refusal("-", "-", stdin=io.BytesIO())
    assert "no source is a table" in refusal(tmp_path / "a.png", column="x")
    (tmp_path / "t.json").write_text("[]")
    assert "jq -c" in refusal(tmp_path / "t.json")
    (tmp_path / os.fsdecode(b"\xff.json")).write_text("[]")
    assert "\\xff.json" in refusal(tmp_path / os.fsdecode(b"\xff.json"))


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_no_list() -> None:
    assert "is a terminal" in refusal("-", stdin=Terminal())
    check_sources(["-"], SourceOptions(stdin=io.BytesIO()))


def test_lists_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "a.png").write_bytes(picture_file())
    text = tmp_path / "lists" / "l.txt"
    text.write_text("a red bird\n")
    assert "none of the files that it names exists, such as 'a red bird'" in refusal(text)
    monkeypatch.chdir(tmp_path)
    text.write_text("a.png\n")
    assert "relative to the list's or table's own folder" in refusal(text)
    text.write_text("gone.png\n../a.png\n")
    check_sources([str(text)], SourceOptions())
    text.write_text("\n")
    assert "empty" in refusal(text)
    text.write_bytes("a.png".encode("utf-16"))
    assert "UTF-16" in refusal(text)
    table = tmp_path / "lists" / "t.csv"
    table.write_text("image\na.png\n")
    assert "own folder" in refusal(table)
    table.write_text("image\nhttps://example.com/a.png\n")
    check_sources([str(table)], SourceOptions())


def test_captions_beside_named_pictures_are_no_lists(tmp_path: Path) -> None:
    for name in ("a.png", "a.txt", "a.png.xmp", "a.json", "b.txt"):
        (tmp_path / name).write_text("a.png" if name == "b.txt" else "a red bird")
    sources = sorted(map(str, tmp_path.iterdir()))
    check_sources(sources, SourceOptions())
    found = find(sources)
    assert names(found, tmp_path) == ["a.png"]
    assert skips(found, tmp_path) == [
        ("sidecar files", "a.json"),
        ("sidecar files", "a.png.xmp"),
        ("sidecar files", "a.txt"),
        ("listed twice", "a.png"),
    ]
    assert count_candidates(sources, SourceOptions()) == 2


def test_a_picture_whose_name_says_otherwise(tmp_path: Path) -> None:
    for name in ("a.txt", "a.csv", "a.zip", "a.json"):
        (tmp_path / name).write_bytes(picture_file())
        check_sources([str(tmp_path / name)], SourceOptions())
        (picture,) = pictures(find([tmp_path / name]))
        assert reading(picture) == picture_file()


def test_what_went_wrong_since_the_check_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture_file())
    found = pictures(find([tmp_path / "gone.png", tmp_path / "a.png"]))
    assert reading(found[0]) == "failed: there is no such file or folder"
    assert reading(found[1]) == picture_file()


def counted(*sources: Path | str, **options: Any) -> int | None:
    return count_candidates([str(source) for source in sources], SourceOptions(**options))


def test_how_many_there_may_be(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    for name in ("a.png", "b.JPG", "c", "d.txt", "e.mp4", ".f.png", "sub/g.heic"):
        (photos / name).write_bytes(picture_file())
    assert counted(photos) == 4
    assert counted(photos / "a.png", photos) == 5
    assert counted(photos / "*.png") == 1
    assert counted(tmp_path / "pho*") == 4

    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        archive.add(photos / "a.png", "a.png")
        archive.add(photos / "d.txt", "a.txt")
        archive.add(photos / "sub", "sub", recursive=False)
    with tarfile.open(tmp_path / "t.tgz", "w:gz") as archive:
        archive.add(photos / "a.png", "a.png")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a.png", b"")
        archive.writestr("b.txt", b"")
        archive.mkdir("x")
    (tmp_path / "t.csv").write_text('image\n"a\nb.png"\nc.png\n')
    (tmp_path / "t.jsonl").write_text('{"image": "a"}\n\n{"image": "a"}\n')
    (tmp_path / "l.txt").write_text("a\nb\nc\n")
    rows = pa.table({"image": pa.array([b"x"] * 5)})
    pq.write_table(rows, photos / "t.parquet")
    with pa.ipc.new_stream(str(tmp_path / "t.arrow"), rows.schema) as file:
        file.write_table(rows, max_chunksize=2)
    sizes = {
        "t.tar": 1,
        "t.tgz": None,
        "z.zip": 1,
        "t.csv": 2,
        "t.jsonl": 2,
        "l.txt": 3,
        "t.arrow": 5,
    }
    assert {name: counted(tmp_path / name) for name in sizes} == sizes
    assert counted(photos) == 9
    assert counted("-") is None
    assert counted(photos, tmp_path / "t.tgz") is None
    assert counted("https://example.com/a.png", tmp_path / "gone.png") == 1
