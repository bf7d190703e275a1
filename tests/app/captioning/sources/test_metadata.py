"""Folders with metadata beside their pictures, as Hugging Face `datasets` describes them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_files import find, names, picture_file, pictures, reading, skips


def put(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(picture_file())


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_columns_are_joined_by_file_name(tmp_path: Path, kind: str) -> None:
    put(tmp_path, "train/1.png", "train/deep/2.png", "train/3.png", "test/1.png")
    rows = [
        {"file_name": "deep/2.png", "text": "two"},
        {"file_name": "./1.png", "text": 'o"n,e'},
    ]
    path = tmp_path / "train" / f"metadata.{kind}"
    if kind == "csv":
        path.write_text('file_name,text\ndeep/2.png,two\n./1.png,"o""n,e"\n')
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    found = [p for p in pictures(find([tmp_path])) if p.name.endswith(".png")]
    assert {p.name.removeprefix(f"{tmp_path}/"): dict(p.columns) for p in found} == {
        "test/1.png": {},
        "train/1.png": {"text": 'o"n,e'},
        "train/3.png": {},
        "train/deep/2.png": {"text": "two"},
    }


def test_the_nearest_metadata_counts(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "in/b.png", "in/c.png", "out/d.png")
    (tmp_path / "metadata.csv").write_text(
        "file_name,from\na.png,top\nin/b.png,top\nout/d.png,top\n"
    )
    (tmp_path / "in" / "metadata.jsonl").write_text('{"file_name": "c.png", "from": "in"}\n')
    found = pictures(find([tmp_path]))
    assert {p.name[-5:]: p.columns.get("from") for p in found if p.name.endswith("png")} == {
        "a.png"[-5:]: "top",
        "b.png": None,
        "c.png": "in",
        "d.png": "top",
    }


def test_what_metadata_says_wrongly_is_told(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    lines = [
        '{"file_name": "a.png"}',
        '{"file_name": "a.png"}',
        '{"file_name": "gone.png"}',
        "{}",
        "{",
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    found = find([tmp_path])
    assert skips(found, tmp_path) == [("listed twice", "a.png")]
    assert {p.name.removeprefix(f"{tmp_path}/"): reading(p) for p in pictures(found)} == {
        "metadata.jsonl#3": "failed: its line has no 'file_name'",
        "metadata.jsonl#4": "failed: its line is no JSON object",
        "a.png": picture_file(),
        "metadata.jsonl": "skipped: .jsonl files",
        "gone.png": "failed: there is no such file; a list's and a table's paths are relative to "
        "its folder",
    }


def test_a_table_without_file_names_is_no_metadata(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    (tmp_path / "metadata.csv").write_text("file,text\nb.png,x\n")
    assert names(find([tmp_path]), tmp_path) == ["a.png", "metadata.csv"]
