"""What is read of a file, and what is said of one that is no picture."""

from __future__ import annotations

import base64
import os
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from octavo.app.captioning.picture import BytesAt, FileAt, Picture, PictureError, UrlAt
from octavo.app.captioning.sources.formats import HEAD
from octavo.app.captioning.sources.read import SourceReader
from octavo.app.offline.url_reader import UrlReader
from octavo.core.media.headers.image_header import FORMATS, read_header
from octavo.core.protocol.media_limits import MediaLimits
from PIL import Image
from source_files import picture_file, reading

CORPUS = Path(__file__).parents[3] / "support" / "image_corpus"


def found(path: Path) -> bytes | str:
    return reading(Picture(str(path), FileAt(str(path))))


def named(path: Path, **limits: int) -> bytes | str:
    return reading(Picture(str(path), FileAt(str(path)), was_named=True), **limits)


def test_a_picture_is_known_by_its_content(tmp_path: Path) -> None:
    for number, file_format in enumerate(FORMATS):
        data = picture_file(number, file_format)
        for name in ("x", "x.txt", "x.jfif", "x.jpe", "x.heic", "x.mp4"):
            (tmp_path / name).write_bytes(data)
            assert found(tmp_path / name) == data, (file_format, name)
    for file in CORPUS.iterdir():
        is_picture = file.suffix != ".md"
        assert (found(file) == file.read_bytes()) is is_picture


def test_whatever_decodes_counts_as_a_picture() -> None:
    """Independent of our signatures: the decoder's own header reader."""
    for file in CORPUS.iterdir():
        if file.suffix != ".md":
            assert read_header(file.read_bytes(), MediaLimits()).format in FORMATS
            assert isinstance(named(file), bytes)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.txt", b"a caption", "skipped: .txt files"),
        ("a.TXT", b"BM is how it begins, and no bitmap", "skipped: .txt files"),
        ("README", b"text", "skipped: files without an ending"),
        (".profile", b"text", "skipped: files without an ending"),
        ("film.mp4", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "skipped: .mp4 files"),
        ("a.0001", b"text", "skipped: files with odd endings"),
        ("a.b c d", b"text", "skipped: files with odd endings"),
        ("empty", b"", "skipped: files without an ending"),
        ("empty.txt", b"", "skipped: .txt files"),
        ("a.jpg", b"", "failed: the file is empty"),
        ("a.png", bytes(1000), "failed: it holds zeros"),
        ("a.JPG", b"<!DOCTYPE html><html>", "failed: it holds HTML"),
        ("a.webp", b"version https://git-lfs.github.com/spec/v1", "failed: it holds a Git LFS"),
        ("a.gif", b"GIF88a", "failed: it holds no picture in a known format; it begins with b'GIF"),
        ("a.psd", b"8BPS\0\1", "failed: pictures in the format Photoshop can't be decoded"),
        ("a", b"\xff\x0a..", "failed: pictures in the format JPEG XL can't"),
        ("a.bin", b"\0\0\0\x0cJXL \r\n\x87\n", "failed: pictures in the format JPEG XL can't"),
        ("a.svg", b'<?xml version="1.0"?>\n<svg>', "failed: pictures in the format SVG can't"),
        ("a.xml", b'<?xml version="1.0"?>\n<x>', "skipped: .xml files"),
        ("a.nef", b"MM\0\x2a\0\0\0\x08", "failed: pictures in the format camera raw can't"),
        ("a", b"II\x2a\0\x10\0\0\0CR\x02\0", "failed: pictures in the format camera raw can't"),
        (
            "a.cr3",
            b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
            "failed: pictures in the format camera raw",
        ),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n", "failed: pictures in the format JPEG 2000 can't"),
    ],
)
def test_what_is_found_and_is_none(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(data)
    result = str(found(tmp_path / name))
    assert result.startswith(expected)
    assert str(tmp_path) not in result
    assert str(named(tmp_path / name)).startswith("failed: ")


@pytest.mark.skipif("HEIF" in FORMATS, reason="this build decodes HEIC")
def test_heic_without_its_decoder_is_a_picture_all_the_same(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    heif = pillow_heif.from_pillow(Image.new("RGB", (64, 64)))
    heif.save(tmp_path / "IMG_1", quality=50)
    assert str(found(tmp_path / "IMG_1")).startswith("failed: pictures in the format HEIC (HEIF)")


def test_no_more_is_read_of_other_files_than_their_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "film.mkv"
    with path.open("wb") as file:
        file.write(b"\x1aE\xdf\xa3")
        file.truncate(2**33)  # sparse
    asked = []
    read = os.read

    def counting(handle: int, size: int) -> bytes:
        asked.append(size)
        return read(handle, size)

    monkeypatch.setattr(os, "read", counting)
    assert found(path) == "skipped: .mkv files"
    assert sum(asked) <= HEAD


def test_files_that_are_too_large(tmp_path: Path) -> None:
    data = picture_file()
    (tmp_path / "a.png").write_bytes(data)
    assert named(tmp_path / "a.png", max_bytes=len(data)) == data
    assert named(tmp_path / "a.png", max_bytes=len(data) - 1) == (
        f"failed: it has {len(data)} bytes, more than the {len(data) - 1} allowed; raise "
        "--max-image-bytes (max_image_bytes), or make it smaller"
    )


def test_what_is_no_regular_file_never_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert named(tmp_path / "pipe.png") == "failed: it is a FIFO, not a file"
    assert found(tmp_path / "pipe.png") == "skipped: FIFO"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        assert named(tmp_path / "socket.png") == "failed: it is a socket, not a file"
    assert named(tmp_path) == "failed: it is a folder, not a file"
    assert named(Path("/dev/zero")) == "failed: it is a device, not a file"


def test_a_fifo_that_takes_a_files_place_never_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pipe = tmp_path / "a.png", tmp_path / "pipe"
    path.write_bytes(picture_file())
    os.mkfifo(pipe)
    opened = os.open
    monkeypatch.setattr(os, "open", lambda _, flags: opened(pipe, flags))
    assert named(path) == "failed: it is a FIFO, not a file"


def test_what_cant_be_opened(tmp_path: Path) -> None:
    assert "no such file" in str(named(tmp_path / "gone.png"))
    assert "no such file" in str(named(tmp_path / "gone" / "gone.png"))
    assert found(tmp_path / "gone.png") == "failed: it is gone since it was listed"
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert "can't be read: Too many levels" in str(named(tmp_path / "loop.png"))
    assert "can't be read: File name too long" in str(named(tmp_path / ("x" * 300)))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        requested.append(self.path)
        super().do_GET()


requested: list[str] = []


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    requested.clear()
    (tmp_path / "a.png").write_bytes(picture_file())
    (tmp_path / "page.png").write_text("<html>")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetched(url: str, urls: UrlReader | None, limits: MediaLimits) -> bytes | str:
    reader = SourceReader(limits, urls)
    try:
        return reader.read(Picture(url, UrlAt(url), was_named=True))
    except PictureError as error:
        return str(error)
    finally:
        reader.close()


def test_hosts_are_asked_only_if_they_are_named(host: str) -> None:
    limits = MediaLimits(max_bytes=1000)
    url = f"http://{host}/a.png"
    assert "--allowed-media-domains" in str(fetched(url, None, limits))
    local = ("127.0.0.0/8",)
    for domains, networks in (((), local), (("example.com",), local), ((host,), ())):
        reason = str(fetched(url, UrlReader(domains, networks, 5.0, 1000), limits))
        assert "--allowed-media" in reason
    assert requested == []


def test_pictures_behind_urls(host: str) -> None:
    def get(name: str, max_bytes: int = 1000) -> bytes | str:
        urls = UrlReader([host], ["127.0.0.0/8"], 5.0, max_bytes)
        return fetched(f"http://{host}/{name}", urls, MediaLimits(max_bytes=max_bytes))

    assert get("a.png?size=2") == picture_file()
    assert "holds HTML" in str(get("page.png"))
    missing = str(get("gone.png?secret=1"))
    assert "status 404" in missing
    assert host not in missing
    assert "--max-image-bytes" in str(get("a.png", 10))


def test_bytes_and_data_urls() -> None:
    data = picture_file()
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    assert reading(Picture("t.csv#0", UrlAt(url), was_named=True)) == data
    assert "base64" in str(reading(Picture("t.csv#0", UrlAt("data:image/png,x"), was_named=True)))
    assert "--max-image-bytes" in str(reading(Picture("t.csv#0", UrlAt(url)), max_bytes=10))
    assert reading(Picture("t.parquet#0", BytesAt(data), was_named=True)) == data
    assert "--max-image-bytes" in str(reading(Picture("t#0", BytesAt(data)), max_bytes=10))
