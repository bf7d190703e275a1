"""Lists in files and on standard input."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from octavo.app.captioning.picture import BrokenAt, FileAt, UrlAt
from octavo.app.captioning.sources.find import find_pictures
from octavo.app.captioning.sources.options import SourceOptions
from octavo.core.protocol.errors import RequestError
from source_files import find, names, picture_file, pictures, reading, skips


def of_stdin(data: bytes) -> list[str]:
    return names(find(["-"], stdin=io.BytesIO(data)))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a.png\nb c.png\n", ["a.png", "b c.png"]),
        (b"a.png\r\n\r\n\nb.png", ["a.png", "b.png"]),
        (b"\xef\xbb\xbfa.png\nb.png", ["a.png", "b.png"]),
        (b"\xef\xbb\xbfa.png", ["a.png"]),
        (b"a\nb.png\0 c\r.png\0", ["a\nb.png", " c\r.png"]),
        (b"#1.png\n ~x.png", ["#1.png", " ~x.png"]),
        (b"\xff.png\n", [os.fsdecode(b"\xff.png")]),
        (b"", []),
        (b"\n", []),
        (b"x" * 70_000 + b"\ny", ["x" * 70_000, "y"]),
    ],
)
def test_entries(data: bytes, expected: list[str]) -> None:
    assert of_stdin(data) == expected


class Pipe(io.RawIOBase):
    """Gives its parts as they are asked for."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1) -> bytes:
        return self.parts.pop(0) if self.parts else b""


def stream_of(*parts: bytes) -> tuple[Pipe, Iterator[object]]:
    pipe = Pipe(*parts)
    return pipe, find_pictures(["-"], SourceOptions(stdin=pipe))  # type: ignore[arg-type]


def test_a_list_is_taken_as_it_arrives() -> None:
    pipe, found = stream_of(b"a.p", b"ng\nb.", b"png\n", b"c.png\n", b"d.png")
    assert next(found).name == "a.png"  # type: ignore[attr-defined]
    assert len(pipe.parts) == 3
    assert [p.name for p in found] == ["b.png", "c.png", "d.png"]  # type: ignore[attr-defined]


def test_a_long_list_is_never_held_as_a_whole() -> None:
    taken: list[int] = []

    class Long(Pipe):
        def read1(self, size: int = -1) -> bytes:
            taken.append(1)
            return b"".join(b"%d-%d.png\0" % (len(taken), i) for i in range(10))

    found = find_pictures(["-"], SourceOptions(stdin=Long()))  # type: ignore[arg-type]
    for number in range(2000):
        assert len(tuple(islice(found, 10))) == 10
        assert len(taken) == number + 1


def test_what_find_prints(tmp_path: Path) -> None:
    for name in ("a.png", "new\nline.png", "sub/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture_file())
    listed = subprocess.run(["find", tmp_path, "-print0"], capture_output=True, check=True).stdout
    found = find(["-"], stdin=io.BytesIO(listed))
    assert sorted(names(found, tmp_path)) == ["a.png", "new\nline.png", "sub/b.png"]
    assert sorted(skips(found)) == [
        ("folders in lists", str(tmp_path)),
        ("folders in lists", str(tmp_path / "sub")),
    ]
    assert all(picture.was_named for picture in pictures(found))


def test_a_text_file_is_a_list_relative_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "a.png").write_bytes(picture_file(1))
    data_url = "data:image/png;base64,AAAA"
    lines = ["../a.png", str(tmp_path / "a.png"), "gone.png", "https://example.com/x.png?y=1"]
    lines += [
        data_url,
        f"file://{tmp_path}/b%20c.png",
        "file:///x?y",
        "https://example.com/x.png?y=1",
    ]
    list_file = tmp_path / "lists" / "all.txt"
    list_file.write_text("\n".join(lines))
    found = find([list_file])
    places = [picture.at for picture in pictures(found)]
    assert places[:3] == [
        FileAt(f"{tmp_path}/lists/../a.png"),
        FileAt(f"{tmp_path}/lists/gone.png"),
        UrlAt("https://example.com/x.png?y=1"),
    ]
    assert places[3:5] == [UrlAt(data_url), FileAt(f"{tmp_path}/b c.png")]
    assert isinstance(places[5], BrokenAt)
    assert "percent-encode" in str(reading(pictures(found)[5]))
    assert [kind for kind, _ in skips(found)] == ["listed twice", "listed twice"]
    assert reading(pictures(found)[0]) == picture_file(1)
    assert "no such file" in str(reading(pictures(found)[1]))


def test_what_is_no_list_is_refused() -> None:
    with pytest.raises(RequestError, match="standard input: this is a picture"):
        of_stdin(picture_file())
    with pytest.raises(RequestError, match=r"standard input: .*UTF-16"):
        of_stdin("a.png\n".encode("utf-16"))


def test_a_nul_among_lines_fails_its_entry_alone() -> None:
    data = b"x.png\n" * 20_000 + b"y\0z.png\nw.png\n"
    found = find(["-"], stdin=io.BytesIO(data))
    assert names(found) == ["x.png", "y\0z.png", "w.png"]
    assert "NUL" in str(reading(pictures(found)[1]))
