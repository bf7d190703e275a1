"""What becomes of {…} in a prompt, written out."""

from __future__ import annotations

import io
import math
import os
import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from octavo.app.captioning.picture import (
    BytesAt,
    FileAt,
    Location,
    MemberAt,
    Picture,
    PictureError,
    UrlAt,
)
from octavo.app.captioning.prompts.picture_facts import PictureFacts
from octavo.app.captioning.prompts.template import Template
from octavo.core.protocol.errors import RequestError
from PIL import ExifTags, Image

FILE = Picture("photos/dogs/rex.v2.JPG", FileAt("photos/dogs/rex.v2.JPG"))


def jpeg(orientation: int = 1, date: str | None = None) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    if date is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = date
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def rendered(text: str, picture: Picture = FILE, data: bytes = b"") -> str:
    """Without bytes of a file, as most facts need none."""
    return Template(text, "--prompt").render(PictureFacts(picture, data))


def with_columns(**columns: Any) -> Picture:
    return Picture("table.csv#1", BytesAt(b""), columns)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is this?", "What is this?"),
        ("", ""),
        (
            "{name} {stem} {ext} {folder} {path}",
            "rex.v2.JPG rex.v2 JPG dogs photos/dogs/rex.v2.JPG",
        ),
        ('Answer {{"a": 1}} for {stem}', 'Answer {"a": 1} for rex.v2'),
        ("{{stem}} {{{stem}}}", "{stem} {rex.v2}"),
        ("{stem|x}{title|}{title| none }", "rex.v2 none "),
        ("%s %(stem)s ${stem}", "%s %(stem)s $rex.v2"),
    ],
)
def test_texts(text: str, expected: str) -> None:
    assert rendered(text) == expected


@pytest.mark.parametrize(
    ("name", "at", "expected"),
    [
        ("/a/b/c.png", FileAt("/a/b/c.png"), "c.png c png b"),
        ("a/.hidden", FileAt("a/.hidden"), ".hidden .hidden - a"),
        ("d/noending", FileAt("d/noending"), "noending noending - d"),
        ("p.zip!cats/a.jpg", MemberAt("p.zip", "cats/a.jpg"), "a.jpg a jpg cats"),
        ("x/p.tar.gz!a.jpg", MemberAt("x/p.tar.gz", "a.jpg"), "a.jpg a jpg p"),
        ("24.12.23.zip!a.jpg", MemberAt("24.12.23.zip", "a.jpg"), "a.jpg a jpg 24.12.23"),
        (
            "https://example.com/k%C3%A4se/a%20b.jpg?x=/y.png",
            UrlAt("https://example.com/k%C3%A4se/a%20b.jpg?x=/y.png"),
            "a b.jpg a b jpg käse",
        ),
        ("https://example.com/", UrlAt("https://example.com/"), "- - - -"),
        ("t/table.parquet#7", BytesAt(b""), "table.parquet#7 table.parquet#7 - t"),
        ("list.txt#2", UrlAt("data:image/png;base64,AA/BB=="), "list.txt#2 list.txt#2 - -"),
    ],
)
def test_names(name: str, at: Location, expected: str) -> None:
    assert rendered("{name|-} {stem|-} {ext|-} {folder|-}", Picture(name, at)) == expected


def test_a_file_of_this_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert rendered("{folder}", Picture("a.jpg", FileAt("a.jpg"))) == tmp_path.name


def test_names_that_are_no_utf_8() -> None:
    path = os.fsdecode("ä/b\xff\n.jpg".encode() + b"\xff.jpg")
    text = rendered("{name} {path}", Picture(path, FileAt(path)))
    assert text == "bÿ\n.jpg\\xff.jpg ä/bÿ\n.jpg\\xff.jpg"
    text.encode()


def test_size_is_upright_and_read_only_if_asked_for() -> None:
    assert rendered("{width}x{height}", data=jpeg(orientation=6)) == "20x30"
    with pytest.raises(PictureError, match="not an image"):
        rendered("{width}", data=b"text")


def test_exif() -> None:
    data = jpeg(date="2023:07:14 15:04:05")
    assert rendered("{exif.date} at {exif.time}", data=data) == "2023-07-14 at 15:04:05"


@pytest.mark.parametrize("data", [jpeg(), b"\xff\xd8\xff broken"])
def test_missing_exif_is_an_error_or_what_stands_for_it(data: bytes) -> None:
    with pytest.raises(PictureError) as error:
        rendered("Taken {exif.date}", data=data)
    assert "{exif.date}, which this picture's file doesn't have" in str(error.value)
    assert "{exif.date|unknown}" in str(error.value)
    assert rendered("Taken {exif.date|on some day}", data=data) == "Taken on some day"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a dog", "a dog"),
        (7, "7"),
        (0, "0"),
        (False, "false"),
        (2.5, "2.5"),
        (["cat", "a dog", 3, None], "cat, a dog, 3"),
        ({"a": ["ü"]}, '{"a": ["ü"]}'),
        (date(2020, 1, 2), "2020-01-02"),
        (datetime(2020, 1, 2, 3, 4), "2020-01-02 03:04:00"),
        (Decimal("1.50"), "1.50"),
        ("lone \ud83d surrogate", "lone \\xed\\xa0\\xbd surrogate"),
    ],
)
def test_columns_of_any_type(value: Any, expected: str) -> None:
    assert rendered("{title}", with_columns(title=value)) == expected


@pytest.mark.parametrize("value", [None, "", "  ", math.nan, [], [None]])
def test_an_empty_cell_is_an_error_or_what_stands_for_it(value: Any) -> None:
    with pytest.raises(PictureError, match="the column is empty for this picture"):
        rendered("{title}", with_columns(title=value))
    assert rendered("{title|unknown}", with_columns(title=value)) == "unknown"


def test_missing_columns_are_named() -> None:
    with pytest.raises(PictureError, match=r"asks for \{titel\}.*table; did you mean title"):
        rendered("{titel}", with_columns(title="a"))
    with pytest.raises(PictureError, match="comes from no table"):
        rendered("{title}")
    with pytest.raises(PictureError, match="'cover' holds bytes"):
        rendered("{cover}", with_columns(cover=b"\xff"))


def test_columns_of_any_name() -> None:
    columns = {"name": "Rex", "dc:title": "A", "a.b": "B", "Alt text": "C"}
    text = "{name} {column.name} {column.dc:title} {column.a.b} {Alt text} {column.x|-}"
    assert rendered(text, with_columns(**columns)) == "table.csv#1 Rex A B C -"
    asked = {"name", "dc:title", "a.b", "Alt text", "x"}
    Template(text, "").check_columns(asked)
    for column in asked:
        with pytest.raises(RequestError, match=f"{re.escape(column)}.* is not known"):
            Template(text, "").check_columns(asked - {column})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{stem", "has a { without its other half"),
        ("stem}", "has a } without its other half"),
        ("{{stem}", "has a } without its other half"),
        ("{}", "{} is no name"),
        ("{stem:>8}", "formats, conversions and attributes are not known"),
        ("{stem!r}", "formats, conversions and attributes are not known"),
        ("{stem.upper}", "formats, conversions and attributes are not known"),
        ("{title[0]}", "formats, conversions and attributes are not known"),
        ("{ stem }", "is no name"),
        ('{"tags": []}', "write {{ and }} for braces that are meant themselves"),
        ("{exif.dat}", "did you mean exif.date"),
        ("{exif.}", "is not known"),
        ("{column.}", "is no name"),
    ],
)
def test_what_can_not_be_is_refused_at_once(text: str, message: str) -> None:
    with pytest.raises(RequestError) as error:
        Template(text, "--prompt tags")
    assert str(error.value).startswith("--prompt tags")
    assert message in str(error.value)


def test_unknown_columns_are_refused_at_once_where_they_are_known() -> None:
    template = Template("{stem} {titel|x}", "--prompt")
    template.check_columns(["titel"])
    with pytest.raises(RequestError, match="did you mean title"):
        template.check_columns(["title", "url"])
    with pytest.raises(RequestError, match=r"\{titel\|x\} is not known"):
        template.check_columns([])
