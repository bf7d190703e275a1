"""JSON lines, CSV and TSV hold what was written, as other readers see it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from caption_rows import ODD_TEXTS, failed, row, rows_of, write_all
from octavo import RequestError
from octavo.app.captioning.outputs.open_sink import errors_sink, sink_for
from octavo.app.captioning.outputs.output_options import OutputOptions
from octavo.app.captioning.outputs.row import Row
from octavo.app.captioning.outputs.sink import START

OPTIONS = OutputOptions(("caption",))
HEADER = {"octavo": {"model": "m", "version": "1"}}
ROWS = [row(f"{text}/{n}.png", text) for n, text in enumerate(ODD_TEXTS)] + [failed("bad.jpg")]
DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=DELIMITERS[path.suffix], strict=True))


@pytest.mark.parametrize("ending", [".jsonl", ".ndjson"])
def test_json_lines(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    write_all(sink_for(path, OPTIONS), ROWS, HEADER)
    header, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert header == HEADER
    assert lines[:-1] == [{"file": r.name, "caption": r.texts["caption"]} for r in ROWS[:-1]]
    assert lines[-1] == {"file": "bad.jpg", "error": "it is broken"}


@pytest.mark.parametrize("ending", DELIMITERS)
def test_csv(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    write_all(sink_for(path, OPTIONS), ROWS, HEADER)
    expected = [
        {"file": r.name, "caption": r.texts.get("caption", ""), "error": r.error or ""}
        for r in ROWS
    ]
    assert read_csv(path) == expected
    assert path.read_bytes().startswith(
        DELIMITERS[ending].join(["file", "caption", "error\n"]).encode()
    )
    metadata = json.loads((tmp_path / f"out{ending}-metadata.json").read_bytes())
    assert metadata["@context"] == "http://www.w3.org/ns/csvw"
    assert metadata["url"] == path.name
    assert metadata["notes"] == [HEADER]
    assert metadata.get("dialect", {"delimiter": ","}) == {"delimiter": DELIMITERS[ending]}


def test_csv_without_a_header(tmp_path: Path) -> None:
    """What an earlier output said of itself goes with it."""
    path = tmp_path / "out.csv"
    write_all(sink_for(path, OPTIONS), ROWS, HEADER)
    sink = sink_for(path, OutputOptions(("caption",), overwrite=True))
    write_all(sink, ROWS[:1])
    assert len(read_csv(path)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]


def test_all_fields(tmp_path: Path) -> None:
    options = OutputOptions(
        ("caption", "tags"),
        ("digest", "file", "tags", "width", "finish_reason", "prompt_tokens", "rating", "date"),
        columns=("rating", "date"),
    )
    facts = {
        "width": 7,
        "digest": "ab",
        "finish_reason": {"caption": "stop", "tags": "length"},
        "prompt_tokens": {"caption": 5, "tags": 6},
        "rating": [1, True],
        "date": None,
    }
    rows = [Row("a", "a", {"caption": "c", "tags": "t"}, facts=facts), failed("b")]
    write_all(sink_for(tmp_path / "out.jsonl", options), rows)
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    expected = {
        "digest": "ab",
        "file": "a",
        "tags": "t",
        "width": 7,
        "finish_reason.caption": "stop",
        "finish_reason.tags": "length",
        "prompt_tokens.caption": 5,
        "prompt_tokens.tags": 6,
        "rating": [1, True],
    }
    assert list(first.items()) == list(expected.items())
    assert second == {"file": "b", "error": "it is broken"}
    write_all(sink_for(tmp_path / "out.csv", options), rows)
    cells = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in expected.items()
    }
    first, second = read_csv(tmp_path / "out.csv")
    assert {name: value.replace(",", ", ") for name, value in first.items()} == cells | {
        "date": "",
        "error": "",
    }
    assert [second["file"], second["error"], second["tags"]] == ["b", "it is broken", ""]


def test_errors_have_their_own_file(tmp_path: Path) -> None:
    errors = errors_sink(tmp_path / "errors.jsonl", OPTIONS)
    write_all(errors, [failed("b")])
    with pytest.raises(RequestError, match="or name another file with --errors"):
        errors.check()
    assert json.loads((tmp_path / "errors.jsonl").read_text()) == {
        "file": "b",
        "error": "it is broken",
    }
    options = OutputOptions(("caption",), failures_elsewhere=True, fields=("file", "caption"))
    write_all(sink_for(tmp_path / "out.csv", options), [row("a")])
    assert (tmp_path / "out.csv").read_text() == "file,caption\na,a cat\n"
    with pytest.raises(RequestError, match=r"--errors .*errors\.csv: its name must end in \.jsonl"):
        errors_sink(tmp_path / "errors.csv", OPTIONS)


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".tsv"])
def test_only_missing(tmp_path: Path, ending: str) -> None:
    """Rows are added behind those of a file that no journal knows."""
    path = tmp_path / f"out{ending}"
    write_all(sink_for(path, OPTIONS), ROWS, HEADER)
    before = path.read_bytes()
    sink = sink_for(path, OutputOptions(("caption",), goes_on=True))
    sink.check()
    assert list(sink.names()) == [r.name for r in ROWS]
    position = sink.begin(sink.end(), HEADER)
    assert position == (0, len(before))
    sink.write([row("new.png")])
    sink.finish(rows_of([]))
    assert path.read_bytes().startswith(before)
    assert list(sink.names()) == [*(r.name for r in ROWS), "new.png"]


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".tsv", ".parquet", ".tar"])
def test_only_missing_where_nothing_is(tmp_path: Path, ending: str) -> None:
    sink = sink_for(tmp_path / f"out{ending}", OutputOptions(("caption",), goes_on=True))
    assert (list(sink.names()), sink.end()) == ([], START)


@pytest.mark.parametrize(
    ("tail", "kept"),
    [('{"file": "c.png", "capt', ""), ('{"file": "c.png"}', '{"file": "c.png"}\n'), ("", "")],
)
def test_last_line_that_was_cut_off(tmp_path: Path, tail: str, kept: str) -> None:
    path = tmp_path / "out.jsonl"
    whole = '{"file": "a.png"}\n\n{"file": "b.png"}\n'
    path.write_text(whole + tail)
    sink = sink_for(path, OutputOptions(("caption",), goes_on=True))
    assert list(sink.names()) == ["a.png", "b.png"] + (["c.png"] if kept else [])
    sink.begin(sink.end(), None)
    sink.write([row("new.png", "x")])
    sink.finish(rows_of([]))
    assert path.read_text() == whole + kept + '{"file":"new.png","caption":"x"}\n'


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "out.jsonl",
            '{"file": "a"}\n{"image": "b"}\n',
            'line 2: there is no object with a "file"',
        ),
        ("out.jsonl", "prose\n", "line 1"),
        ("out.csv", "image,caption\na,b\n", "no column 'file'"),
        ("out.csv", b"file\n\xff\n", "can't be read"),
    ],
)
def test_names_that_can_not_be_told(
    tmp_path: Path, name: str, content: str | bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RequestError, match=reason):
        list(sink_for(path, OPTIONS).names())


def test_csv_that_can_not_be_added_to(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("file,text\n")
    with pytest.raises(
        RequestError, match="has the columns file, text, and this job has file, cap"
    ):
        sink_for(path, OPTIONS).end()
    path.write_text("file,caption,error\na,b")
    with pytest.raises(RequestError, match="last line isn't whole"):
        sink_for(path, OPTIONS).end()
