"""Data URLs: what urllib and browsers read, refused when too large or not strictly base64."""

from __future__ import annotations

import base64
import itertools
import random
import re
import textwrap
import threading
import time
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st
from octavo.core.media.sources.data_url import read_data_url
from octavo.core.protocol.media_error import MediaError

MIB = 2**20


def url_of(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


@given(st.binary(max_size=2000))
def test_as_urllib_reads_it(data: bytes) -> None:
    with urlopen(url_of(data)) as response:
        assert read_data_url(url_of(data), 2000) == response.read() == data


@pytest.mark.parametrize("size", [2**18 * 3 // 4 + shift for shift in (-4, -3, -2, -1, 0, 1, 2, 3)])
def test_around_a_slice(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert read_data_url(url_of(data), size) == data


@pytest.mark.parametrize("line_break", ["\n", "\r\n", " ", "\t", "%0A", "%0d%0a", "%20"])
def test_white_space_is_skipped(line_break: str) -> None:
    data = random.Random(0).randbytes(600_000)
    lines = textwrap.wrap(base64.b64encode(data).decode(), 76)
    url = "data:image/png;base64," + line_break.join(lines) + line_break
    assert read_data_url(url, MIB) == data


def test_percent_encoded() -> None:
    data = random.Random(1).randbytes(400_000)
    url = "data:image/png;base64," + quote(base64.b64encode(data).decode(), safe="")
    with urlopen(url) as response:
        assert read_data_url(url, MIB) == response.read() == data


@pytest.mark.parametrize(
    "header", ["data:;base64", "DATA:image/png;BASE64", "data:image/png;charset=x;Base64;q=1"]
)
def test_headers(header: str) -> None:
    assert read_data_url(f"{header},aGVsbG8=", 10) == b"hello"


BAD = {
    "http://example.com/a.png": "expected a data: URL such as",
    "data:image/png;base64": "expected a data: URL such as",
    "data:" + "x" * 5000 + ";base64,aGVsbG8=": "expected a data: URL such as",
    "data:image/png,hello": "must be base64-encoded",
    "data:base64,aGVsbG8=": "must be base64-encoded",
    "data:image/png;base64,???": "no valid base64",
    "data:image/png;base64,aGVsbG8": "no valid base64",
    "data:image/png;base64,aGVsbG8=aGVs": "no valid base64",
    "data:image/png;base64,aGVsbG8=====": "no valid base64",
    "data:image/png;base64,aGVs-_8=": "no valid base64",
    "data:image/png;base64,aGVs%3Xbb": "no valid base64",
    "data:image/png;base64,äöüß": "no valid base64: not ASCII",
}


@pytest.mark.parametrize("url", BAD)
def test_refused(url: str) -> None:
    with pytest.raises(MediaError, match=re.escape(BAD[url])) as caught:
        read_data_url(url, MIB)
    assert caught.value.kind == "invalid"


@pytest.mark.parametrize("tail", ["=", "==", "A===", "=AAA"])
def test_padding_only_at_the_end(tail: str) -> None:
    whole = "A" * 2**18
    for payload in (whole[: -len(tail)] + tail + whole, whole + tail + whole):
        with pytest.raises(MediaError, match="no valid base64"):
            read_data_url("data:;base64," + payload, MIB)


def test_too_large_is_refused_before_decoding() -> None:
    url = "data:;base64," + "?" * 1000  # would not decode
    with pytest.raises(MediaError, match="about 750 bytes, more than the 700 allowed"):
        read_data_url(url, 700)
    for size in (10, 11, 12):
        with pytest.raises(MediaError, match=f"bytes, more than the {size - 1} allowed"):
            read_data_url(url_of(bytes(size)), size - 1)
        assert len(read_data_url(url_of(bytes(size)), size)) == size


def test_other_threads_keep_running() -> None:
    """A thread that only ticks gets the interpreter several times while one large URL is read."""
    url = url_of(random.Random(2).randbytes(30 * MIB))
    ticks, done = itertools.count(), threading.Event()

    def tick() -> None:
        while not done.is_set():
            time.sleep(0.0005)
            next(ticks)

    ticking = threading.Thread(target=tick)
    ticking.start()

    def ticks_meanwhile() -> int:
        before = next(ticks)
        read_data_url(url, 32 * MIB)
        return next(ticks) - before - 1

    # Again where another program had the processor.
    assert any(ticks_meanwhile() >= 5 for _ in range(20))
    done.set()
    ticking.join()
