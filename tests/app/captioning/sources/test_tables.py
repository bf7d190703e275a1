"""Tables that other libraries wrote."""

from __future__ import annotations

import base64
import csv
import datetime
import decimal
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from octavo.app.captioning.picture import BytesAt, FileAt, UrlAt
from octavo.app.captioning.sources.check import check_sources
from octavo.app.captioning.sources.options import SourceOptions
from octavo.core.protocol.errors import RequestError
from source_files import find, names, picture_file, pictures, reading, skips

ROWS = [
    {"image": "a b.png", "caption": 'a "cat",\nsitting', "n": "1"},
    {"image": "sub/ä.png", "caption": "", "n": "2"},
    {"image": "https://example.com/c.png", "caption": "x", "n": "3"},
]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], **options: Any) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), **options)
            writer.writeheader()
            writer.writerows(rows)
    return path


def checked(path: Path, column: str | None = None) -> None:
    check_sources([str(path)], SourceOptions(column=column))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("t.csv", {}),
        ("t.csv", {"delimiter": ";", "quoting": csv.QUOTE_ALL}),
        ("t.tsv", {"delimiter": "\t"}),
        ("t.jsonl", {}),
        ("t.parquet", {}),
    ],
)
def test_paths_and_urls_with_the_other_columns(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    table = write_rows(tmp_path / name, ROWS, **options)
    found = pictures(find([table]))
    assert [picture.at for picture in found] == [
        FileAt(f"{tmp_path}/a b.png"),
        FileAt(f"{tmp_path}/sub/ä.png"),
        UrlAt("https://example.com/c.png"),
    ]
    assert [picture.name for picture in found][1:] == [f"{tmp_path}/sub/ä.png", ROWS[2]["image"]]
    expected = [{"caption": row["caption"], "n": row["n"]} for row in ROWS]
    assert [dict(picture.columns) for picture in found] == expected
    assert all(picture.was_named for picture in found)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_data_urls_are_named_by_their_row(tmp_path: Path, suffix: str) -> None:
    # Longer than the csv module takes by itself.
    data = picture_file(5) + bytes(200_000)
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    table = write_rows(tmp_path / f"t{suffix}", [{"url": "x.png"}, {"url": url}])
    found = pictures(find([table]))
    assert found[1].name == f"{table}#1"
    assert reading(found[1]) == data


def test_values_are_plain(tmp_path: Path) -> None:
    row = {
        "image": "a.png",
        "when": datetime.datetime(2024, 5, 6, 7, 8),
        "price": decimal.Decimal("1.50"),
        "nothing": None,
        "nan": float("nan"),
        "tags": ["a", "b"],
        "place": {"lat": 1.5, "on": datetime.date(2024, 1, 2)},
        "thumb": b"\0" * 100,
        "mask": {"bytes": b"1", "path": "m.png"},
        "masks": [b"1", b"2"],
    }
    table = write_rows(tmp_path / "t.parquet", [row])
    (picture,) = pictures(find([table], column="image"))
    assert dict(picture.columns) == {
        "when": "2024-05-06T07:08:00",
        "price": "1.50",
        "nothing": None,
        "nan": None,
        "tags": ["a", "b"],
        "place": {"lat": 1.5, "on": "2024-01-02"},
    }
    assert json.loads(json.dumps(dict(picture.columns), allow_nan=False)) == picture.columns


def test_a_csv_in_another_encoding_keeps_its_paths(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"file,text\nbl\xfcte.png,sch\xf6n\n")
    (picture,) = pictures(find([tmp_path / "t.csv"]))
    assert picture.path == f"{tmp_path}/bl\udcfcte.png"
    assert picture.columns["text"] == "sch?n"


def bad_rows(path: Path) -> list[bytes | str]:
    return [reading(picture) for picture in pictures(find([path]))]


def test_rows_that_are_broken_fail_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture_file())
    lines = ['{"image": "a.png"}', "{", '{"file": "a.png"}', '{"image": 7}', '{"image": ""}', "[1]"]
    lines += ['{"image": "\\ud83d.png"}', '{"image": "\\u0000"}']
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    good, *bad = bad_rows(tmp_path / "t.jsonl")
    assert good == picture_file()
    expected = ["no JSON object", "no 'image'", "type int", "no picture", "no JSON object"]
    for reason, part in zip(bad, [*expected, "surrogate", "NUL"], strict=True):
        assert part in str(reason)

    (tmp_path / "t.csv").write_text("image,n\na.png,1\nb.png,1,2\n,4\na.png\n")
    good, *bad = bad_rows(tmp_path / "t.csv")
    assert good == picture_file()
    assert "3 cells" in str(bad[0])
    assert "no picture" in str(bad[1])


def test_bytes_in_parquet(tmp_path: Path) -> None:
    rows = [{"jpg": picture_file(i), "n": i} for i in range(40)]
    rows.append({"jpg": None, "n": 40})
    rows.append({"jpg": b"text", "n": 41})
    table = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist(rows), table, row_group_size=7)
    found = pictures(find([table]))
    assert [picture.name for picture in found] == [f"{table}#{i}" for i in range(42)]
    assert [reading(picture) for picture in found[:40]] == [picture_file(i) for i in range(40)]
    assert [picture.columns["n"] for picture in found] == list(range(42))
    assert "no picture" in str(reading(found[40]))
    assert "no picture in a known format" in str(reading(found[41]))


IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def hugging_face_table(numbers: Sequence[int]) -> pa.Table:
    images = [{"bytes": picture_file(i), "path": f"{i}.png"} for i in numbers]
    return pa.table({"image": pa.array(images, IMAGE), "label": list(numbers)})


def test_a_cloned_data_set_of_parquet_shards(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("# A data set")
    for shard in range(2):
        path = tmp_path / "data" / f"train-{shard:05}-of-00002.parquet"
        pq.write_table(hugging_face_table(range(shard * 3, shard * 3 + 3)), path)
    pq.write_table(pa.table({"file_name": ["x.png"], "caption": ["x"]}), tmp_path / "out.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    found = pictures(find([tmp_path]))
    embedded = [picture for picture in found if isinstance(picture.at, BytesAt)]
    assert [reading(picture) for picture in embedded] == [picture_file(i) for i in range(6)]
    assert [dict(p.columns) for p in embedded] == [
        {"label": i, "image": f"{i}.png"} for i in range(6)
    ]
    others = {p.name: reading(p) for p in found if p not in embedded}
    assert others == {
        f"{tmp_path}/README.md": "skipped: .md files",
        f"{tmp_path}/broken.parquet": "skipped: .parquet files",
        f"{tmp_path}/out.parquet": "skipped: .parquet files",
    }


@pytest.mark.parametrize("writer", [pa.ipc.new_stream, pa.ipc.new_file])
def test_a_data_set_as_save_to_disk_writes_it(tmp_path: Path, writer: Any) -> None:
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for split, start in (("test", 100), ("train", 0)):
        folder = tmp_path / split
        folder.mkdir()
        (folder / "dataset_info.json").write_text("{}")
        (folder / "state.json").write_text("{}")
        for shard in (0, 1):
            table = hugging_face_table(range(start + shard * 20, start + shard * 20 + 20))
            name = f"data-{shard:05}-of-00002.arrow"
            with writer(str(folder / name), table.schema) as file:
                file.write_table(table, max_chunksize=6)
        (folder / "cache-0123.arrow").write_bytes((folder / name).read_bytes())
    found = [p for p in pictures(find([tmp_path])) if isinstance(p.at, BytesAt)]
    assert [p.columns["label"] for p in found] == [*range(100, 140), *range(40)]
    assert [reading(p) for p in found] == [picture_file(p.columns["label"]) for p in found]
    assert names(found, tmp_path)[:2] == [f"test/data-00000-of-00002.arrow#{i}" for i in range(2)]


def test_a_damaged_table_fails_where_it_breaks(tmp_path: Path) -> None:
    table = hugging_face_table(range(30))
    path = tmp_path / "t.parquet"
    pq.write_table(table, path, row_group_size=10, compression="none", write_page_checksum=True)
    data = bytearray(path.read_bytes())
    middle = data.index(picture_file(15))
    data[middle - 200 : middle] = bytes(200)
    path.write_bytes(data)
    found = pictures(find([path]))
    assert all(reading(p) == picture_file(p.columns["label"]) for p in found[:-1])
    assert found[-1].name == str(path)
    assert "the table can't be read: after row" in str(reading(found[-1]))
    (tmp_path / "no.parquet").write_bytes(b"x")
    with pytest.raises(RequestError, match=r"no\.parquet: it can't be read"):
        checked(tmp_path / "no.parquet")


def test_the_column_is_asked_for_or_guessed(tmp_path: Path) -> None:
    rows = [{"Image": "a.png", "picture_of": "b.png", "n": 1}]
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    for suffix in (".csv", ".jsonl", ".parquet"):
        table = write_rows(tmp_path / f"t{suffix}", rows)
        checked(table)
        assert names(find([table]), tmp_path) == ["a.png"]
        assert names(find([table], column="picture_of"), tmp_path) == ["b.png"]
        with pytest.raises(RequestError, match=r"no column 'imag'.*Image, picture_of, n"):
            checked(table, "imag")
    with pytest.raises(RequestError, match=r"'n' is of type int64"):
        checked(tmp_path / "t.parquet", "n")
    none = write_rows(tmp_path / "none.csv", [{"a": "a.png", "b": 1}])
    with pytest.raises(RequestError, match=r"--column; its columns are a, b"):
        checked(none)
    both = write_rows(tmp_path / "both.csv", [{"file_name": "a.png", "url": "u"}])
    with pytest.raises(RequestError, match=r"file_name and url may each"):
        checked(both)
    twice = tmp_path / "twice.csv"
    twice.write_text("image,image\na.png,b.png\n")
    with pytest.raises(RequestError, match="image and image may each"):
        checked(twice)
    many = write_rows(tmp_path / "many.parquet", [{"images": [{"bytes": b"x", "path": ""}]}])
    with pytest.raises(RequestError, match="'images' is of type list"):
        checked(many)
    bytes_and_url = write_rows(tmp_path / "x.parquet", [{"image": picture_file(), "url": "u"}])
    checked(bytes_and_url)


def test_a_table_whose_own_name_is_odd(tmp_path: Path) -> None:
    row = {"image": {"bytes": picture_file(), "path": "a.png"}, "text": "x"}
    for suffix in (".parquet", ".csv", ".jsonl"):
        path = tmp_path / f"odd\udcff\n{suffix}"
        if suffix == ".parquet":
            with path.open("wb") as file:
                pq.write_table(pa.Table.from_pylist([row]), file)
        else:
            write_rows(path, [{"image": "data:image/png;base64,AAAA"}])
        checked(path)
        assert names(find([path])) == [f"{path}#0"]
        with pytest.raises(RequestError, match=r"odd\\xff"):
            checked(path, "none")


def test_parquet_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_rows(tmp_path / "t.parquet", [{"image": picture_file()}])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "octavo.app.captioning.sources.arrow_tables", raising=False)
    with pytest.raises(RequestError, match=r"pip install 'octavo\[parquet\]'"):
        checked(table)
    (tmp_path / "state.json").touch()
    with pytest.raises(RequestError, match=r"pip install 'octavo\[parquet\]'"):
        checked(tmp_path)
    found = find([tmp_path])
    assert names(found, tmp_path) == ["state.json"]
    assert skips(found) == [("Parquet files, which need octavo[parquet]", str(table))]
