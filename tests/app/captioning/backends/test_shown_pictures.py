"""Pictures as servers are shown them, read back by Pillow."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from captioning_tasks import file_of
from octavo.app.captioning.backends.shown_pictures import PLACE, picture_part, with_pictures
from octavo.core.protocol.errors import RequestError
from PIL import Image

#: Left half red, right half blue.
HALVES = Image.new("RGB", (64, 32), "red")
HALVES.paste("blue", (32, 0, 64, 32))


def shown(content: bytes | Image.Image, any_file: bool = False) -> tuple[str, bytes]:
    """The media type and the file."""
    part = picture_part(content, any_file)
    head, _, data = part["image_url"]["url"].partition(";base64,")
    return head.removeprefix("data:"), base64.b64decode(data)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_files_that_all_servers_read_go_as_they_are(file_format: str) -> None:
    file = file_of(HALVES, file_format)
    assert shown(file) == (f"image/{file_format.lower()}", file)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return file_of(HALVES.rotate(90, expand=True), "JPEG", exif=exif, quality=95, subsampling=0)


@pytest.mark.parametrize("file", [file_of(HALVES, "TIFF"), file_of(HALVES, "BMP"), turned()])
def test_others_are_decoded_for_servers_that_might_not(file: bytes) -> None:
    assert shown(file, any_file=True)[1] == file
    kind, sent = shown(file)
    assert kind == "image/jpeg"
    assert_like_halves(sent)


def test_picture_in_memory() -> None:
    kind, sent = shown(HALVES.convert("P"))
    assert kind == "image/jpeg"
    assert_like_halves(sent)


def test_picture_too_long_for_jpeg() -> None:
    kind, sent = shown(Image.new("RGB", (70_000, 2), "red"))
    assert kind == "image/png"
    with Image.open(io.BytesIO(sent)) as picture:
        assert picture.size == (70_000, 2)


def test_parts_that_are_no_pictures_stay() -> None:
    """And so does a few-shot picture that is a URL already."""
    url = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    text = {"type": "text", "text": "x"}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": (url, PLACE, text)},
    ]
    sent = with_pictures(messages, {"type": "shown"}, any_file=True)
    assert sent == [messages[0], {"role": "user", "content": [url, {"type": "shown"}, text]}]


def test_few_shot_picture_that_is_not_there() -> None:
    messages = [{"role": "user", "content": [{"type": "image", "image": "/no/where.png"}]}]
    with pytest.raises(RequestError, match=r"few-shot picture: /no/where\.png can't be read"):
        with_pictures(messages, PLACE, any_file=True)


def assert_like_halves(file: bytes) -> None:
    with Image.open(io.BytesIO(file)) as picture:
        assert picture.getexif().get(0x0112, 1) == 1
        got = np.asarray(picture.convert("RGB"), dtype=int)
    assert np.abs(got - np.asarray(HALVES, dtype=int)).max() <= 8
