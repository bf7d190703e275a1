"""Parquet holds all rows of a journal, with types that don't hang on which there are."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from caption_rows import ODD_TEXTS, failed, row, rows_of, write_all
from octavo import RequestError
from octavo.app.captioning.outputs import parquet_sink
from octavo.app.captioning.outputs.open_sink import sink_for
from octavo.app.captioning.outputs.output_options import OutputOptions
from octavo.app.captioning.outputs.row import Row
from octavo.app.captioning.outputs.sink import START
from pyarrow import parquet

OPTIONS = OutputOptions(("caption",))
FACTS = OutputOptions(
    ("caption",), fields=("file", "width", "prompt_tokens", "extra"), columns=None
)
HEADER = {"octavo": {"model": "m", "prompts": {"caption": "Wie heißt das?"}}}
ROWS = [row(f"{text}/{n}.png", text) for n, text in enumerate(ODD_TEXTS)] + [failed("bad.jpg")]


def finish(path: Path, rows: list[Row], options: OutputOptions = OPTIONS) -> Any:
    sink = sink_for(path, options)
    sink.begin(START, HEADER)
    sink.finish(rows_of(rows))
    return parquet.read_table(path)


def test_rows_and_header(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    assert write_all(sink_for(path, OPTIONS), ROWS, HEADER) == START
    assert parquet.read_table(path).to_pylist() == [
        {"file": r.name, "caption": r.texts.get("caption"), "error": r.error} for r in ROWS
    ]
    assert json.loads(parquet.read_schema(path).metadata[b"octavo"]) == HEADER["octavo"]
    assert os.listdir(tmp_path) == ["out.parquet"]


def test_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_sink, "ROWS_IN_GROUP", 4)
    finish(tmp_path / "out.parquet", ROWS)
    metadata = parquet.ParquetFile(tmp_path / "out.parquet").metadata
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [4, 4, 3]


@pytest.mark.parametrize(
    "rows", [[], [failed("a")], [row("a", width=3, prompt_tokens={"caption": 2})]]
)
def test_the_schema_is_the_same_whatever_succeeds(tmp_path: Path, rows: list[Row]) -> None:
    table = finish(tmp_path / "out.parquet", rows, FACTS)
    assert table.num_rows == len(rows)
    text, integer = pyarrow.string(), pyarrow.int64()
    assert table.schema.names == ["file", "width", "prompt_tokens", "extra", "error"]
    assert table.schema.types == [text, integer, integer, text, text]


@pytest.mark.parametrize(
    ("values", "arrow_type", "expected"),
    [
        ([1, None, 2], pyarrow.int64(), [1, None, 2]),
        ([1, 0.5], pyarrow.float64(), [1.0, 0.5]),
        ([True, False], pyarrow.bool_(), [True, False]),
        (["a", "1"], pyarrow.string(), ["a", "1"]),
        ([True, 1], pyarrow.string(), ["true", "1"]),
        (["a", 1, [2], {"b": None}], pyarrow.string(), ["a", "1", "[2]", '{"b":null}']),
        ([2**64, 1], pyarrow.string(), [str(2**64), "1"]),
    ],
)
def test_a_column_of_a_table(
    tmp_path: Path, values: list[Any], arrow_type: Any, expected: list[Any]
) -> None:
    rows = [row(str(n), extra=value) for n, value in enumerate(values)]
    column = finish(tmp_path / "out.parquet", rows, FACTS)["extra"]
    assert (column.type, column.to_pylist()) == (arrow_type, expected)


def test_a_run_after_another_has_all_rows(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    target = tmp_path / "elsewhere.parquet"
    path.symlink_to(target)
    assert finish(path, ROWS[:3]).num_rows == 3
    assert finish(path, ROWS).num_rows == len(ROWS)
    assert path.is_symlink()


def test_only_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were there stay in front, run after run."""
    monkeypatch.setattr(parquet_sink, "ROWS_IN_GROUP", 3)
    path = tmp_path / "out.parquet"
    there = pyarrow.table(
        {
            "file": pyarrow.array(["a", "b", "c", "d"], pyarrow.large_string()),
            "width": pyarrow.array([1, 2, None, 4], pyarrow.int32()),
            "prompt_tokens": pyarrow.nulls(4),
            "extra": pyarrow.array([1, 2, 3, 4], pyarrow.int64()),
            "error": pyarrow.array([None] * 4, pyarrow.string()),
        }
    )
    parquet.write_table(there, path)
    sink = sink_for(path, FACTS)
    assert list(sink.names()) == ["a", "b", "c", "d"]
    position = sink.end()
    assert position == (0, 4)
    for num_rows in (0, 1, 2):
        sink = sink_for(path, FACTS)
        assert sink.begin(position, HEADER) == position
        assert sink.write(ROWS[:num_rows]) == position
        sink.finish(rows_of([row("new", extra="x"), row("newer", extra=9)][:num_rows]))
        table = parquet.read_table(path)
        assert table["file"].to_pylist() == ["a", "b", "c", "d", "new", "newer"][: 4 + num_rows]
    assert table["width"].to_pylist() == [1, 2, None, 4, None, None]
    assert table["extra"].to_pylist() == ["1", "2", "3", "4", "x", "9"]
    path.unlink()
    with pytest.raises(RequestError, match="has fewer rows than were there when the job began"):
        sink_for(path, FACTS).begin(position, HEADER)


def test_what_can_not_be_added_to(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    sink = sink_for(path, OPTIONS)
    parquet.write_table(pyarrow.table({"image": ["a"]}), path)
    with pytest.raises(RequestError, match="no column 'file'"):
        list(sink.names())
    with pytest.raises(RequestError, match=r"has the columns image, .* has file, caption, error"):
        sink.end()
    parquet.write_table(pyarrow.table({"file": ["a"], "caption": [1], "error": ["b"]}), path)
    with pytest.raises(RequestError, match="other types"):
        sink.end()
    for broken in (b"prose", path.read_bytes()[:-9], b"PAR1" * 20):
        path.write_bytes(broken)
        with pytest.raises(RequestError, match=r"out\.parquet can't be read"):
            list(sink.names())


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RequestError, match=r"pip install 'octavo\[parquet\]'"):
        sink_for(tmp_path / "out.parquet", OPTIONS)
