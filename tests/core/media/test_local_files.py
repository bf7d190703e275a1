"""Images by file: URL, from real files, links, FIFOs and devices."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from octavo.core.media.sources.local_files import LocalFiles
from octavo.core.protocol.media_error import MediaError

PICTURE = bytes(range(256)) * 4
NO_FILE = "no file that this server can read inside its --allowed-local-media-path"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An allowed folder with pictures, and beside it others that aren't allowed."""
    allowed = tmp_path / "allowed"
    (allowed / "deep").mkdir(parents=True)
    (allowed / "deep" / "a.png").write_bytes(PICTURE)
    (allowed / "ü 1%?#.png").write_bytes(PICTURE)
    for outside in (tmp_path / "secret", tmp_path / "allowed-not"):
        outside.mkdir()
        (outside / "a.png").write_bytes(b"secret")
    return allowed


@pytest.fixture
def files(folder: Path) -> LocalFiles:
    return LocalFiles(folder, len(PICTURE))


def refused(files: LocalFiles, url: str) -> str:
    """The message without the URL, which it must begin with."""
    with pytest.raises(MediaError) as caught:
        files.read(url)
    assert caught.value.kind == "invalid"
    assert str(caught.value).startswith(url)
    return str(caught.value).removeprefix(url)


def test_a_picture(files: LocalFiles, folder: Path) -> None:
    path = folder / "deep" / "a.png"
    for url in (
        path.as_uri(),
        f"file://localhost{path}",
        f"file:{path}",
        f"FILE://LOCALHOST{path}",
    ):
        assert files.read(url) == PICTURE
    assert files.read((folder / "ü 1%?#.png").as_uri()) == PICTURE
    assert files.read(f"file://{folder}/deep/../deep/./a.png") == PICTURE


def test_a_name_that_is_no_utf8(files: LocalFiles, folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes(PICTURE)
    assert files.read(f"file://{folder}/%ff.png") == PICTURE


def test_without_a_folder_nothing_is_read(folder: Path) -> None:
    with pytest.raises(MediaError, match="--allowed-local-media-path"):
        LocalFiles(None, 100).read((folder / "deep" / "a.png").as_uri())


def test_a_folder_that_is_none(folder: Path) -> None:
    for path in (folder / "deep" / "a.png", folder / "missing"):
        with pytest.raises(ValueError, match=r"--allowed-local-media-path: .* is not a folder"):
            LocalFiles(path, 100)


def test_links(files: LocalFiles, folder: Path) -> None:
    (folder / "inside.png").symlink_to("deep/a.png")
    (folder / "out.png").symlink_to(folder.parent / "secret" / "a.png")
    (folder / "relative.png").symlink_to("../secret/a.png")
    (folder / "chain.png").symlink_to("out.png")
    (folder / "out").symlink_to(folder.parent / "secret")
    (folder / "loop.png").symlink_to("loop.png")
    (folder.parent / "in.png").symlink_to(folder / "deep" / "a.png")
    assert files.read((folder / "inside.png").as_uri()) == PICTURE
    assert files.read((folder.parent / "in.png").as_uri()) == PICTURE
    for name in ("out.png", "relative.png", "chain.png", "out/a.png", "loop.png"):
        assert NO_FILE in refused(files, f"file://{folder}/{name}")


def test_the_folder_may_be_a_link(folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert LocalFiles(link, 2000).read((link / "deep" / "a.png").as_uri()) == PICTURE


OUTSIDE: dict[str, Callable[[Path], str]] = {
    "beside": lambda folder: f"{folder.parent}/secret/a.png",
    "the same beginning": lambda folder: f"{folder}-not/a.png",
    "dots": lambda folder: f"{folder}/../secret/a.png",
    "escaped dots": lambda folder: f"{folder}/%2e%2e/secret/a.png",
    "escaped slashes": lambda folder: f"{folder}%2f..%2fsecret%2fa.png",
    "a folder": lambda folder: f"{folder.parent}/secret",
    "a password file": lambda folder: "/etc/passwd",
    "a device": lambda folder: "/dev/zero",
    "this process": lambda folder: "/proc/self/environ",
    "an open file": lambda folder: "/proc/self/fd/0",
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_outside_is_like_missing(files: LocalFiles, folder: Path, case: str) -> None:
    """Whether it is there or not, the answer is the same."""
    path = OUTSIDE[case](folder)
    there = refused(files, f"file://{path}")
    assert there == refused(files, f"file://{path}-missing")
    assert there == refused(files, f"file://{folder}/missing.png")
    assert NO_FILE in there


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(files: LocalFiles, folder: Path) -> None:
    (folder / "deep" / "a.png").chmod(0)
    assert NO_FILE in refused(files, (folder / "deep" / "a.png").as_uri())


def test_what_is_no_regular_file(files: LocalFiles, folder: Path) -> None:
    """Refused at once: no FIFO is opened, so nobody who waits to write into it is woken."""
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
    woken = threading.Event()

    def write() -> None:
        os.close(os.open(folder / "fifo", os.O_WRONLY))
        woken.set()

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.05)
    for name in ("fifo", "socket", "deep", ""):
        assert "not a regular file" in refused(files, f"file://{folder}/{name}")
    assert not woken.wait(0.1)
    os.close(os.open(folder / "fifo", os.O_RDONLY))
    writer.join()


def test_devices_are_refused() -> None:
    assert "not a regular file" in refused(LocalFiles(Path("/dev"), 100), "file:///dev/zero")


def test_too_large(files: LocalFiles, folder: Path) -> None:
    path = folder / "large.png"
    path.write_bytes(PICTURE + b"x")
    assert f"larger than the {len(PICTURE)} bytes" in refused(files, path.as_uri())
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: read in full, it would not fit
    assert f"larger than the {len(PICTURE)} bytes" in refused(files, path.as_uri())


def test_a_file_larger_than_it_says() -> None:
    """Its size is 0 by its status, as is that of all in /proc, so only the reading can tell."""
    files = LocalFiles(Path("/proc"), 10)
    assert Path(f"/proc/{os.getpid()}/status").stat().st_size == 0
    assert "larger than the 10 bytes" in refused(files, f"file:///proc/{os.getpid()}/status")


def test_a_path_that_is_swapped_all_the_time(files: LocalFiles, folder: Path) -> None:
    """A link that turns between inside and outside gives the picture or an error, no secret."""
    inside, outside = folder / "deep" / "a.png", folder.parent / "secret" / "a.png"
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for target in (inside, outside):
                (folder / "new").symlink_to(target)
                (folder / "new").rename(folder / "swapped.png")

    swapper = threading.Thread(target=swap)
    swapper.start()
    answers: set[bytes | None] = set()
    attempts = itertools.count()
    try:
        while (attempt := next(attempts)) < 2000 or len(answers) < 2:
            assert attempt < 10**6, "the link never turned"
            try:
                answers.add(files.read(f"file://{folder}/swapped.png"))
            except MediaError:
                answers.add(None)
    finally:
        stop.set()
        swapper.join()
    assert answers == {PICTURE, None}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://images.test/a.png", "expected a file: URL"),
        ("a.png", "expected a file: URL"),
        ("/a.png", "expected a file: URL"),
        ("file:a.png", "expected a file: URL"),
        ("file://", "expected a file: URL"),
        ("file://server/a.png", "the host must be empty"),
        ("file://127.0.0.1/a.png", "the host must be empty"),
        ("file://user@localhost/a.png", "the host must be empty"),
        ("file:///a.png?x", "percent-encode"),
        ("file:///a.png#x", "percent-encode"),
        ("file:///a%00.png", NO_FILE),
        ("file:///" + "a" * 5000, NO_FILE),
        ("file:////etc/passwd", NO_FILE),
    ],
)
def test_urls_that_name_no_file(files: LocalFiles, url: str, reason: str) -> None:
    assert reason in refused(files, url)


@given(st.text(), st.sampled_from(["", "file:", "file://", "file:///"]))
def test_any_text_gives_a_media_error(text: str, start: str) -> None:
    with pytest.raises(MediaError):
        LocalFiles(Path("/proc/self/fdinfo"), 9).read(start + text)


def test_no_descriptor_stays_open(files: LocalFiles, folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert files.read((folder / "deep" / "a.png").as_uri()) == PICTURE
    refused(files, f"file://{folder}/missing.png")
    refused(files, f"file://{folder}/deep")
    assert len(os.listdir("/proc/self/fd")) == before
