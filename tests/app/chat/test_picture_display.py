"""Pictures in terminals: what is written holds the picture, as Pillow reads it back."""

from __future__ import annotations

import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from octavo.app.chat.picture import read_picture
from octavo.app.chat.picture_display import Protocol, blocks, detect_protocol, draw, iterm2, kitty
from octavo.core.protocol.media_limits import MediaLimits
from PIL import Image

COLOURS = {"COLORTERM": "truecolor"}


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, kitty),
        ({"TERM": "xterm-ghostty"} | COLOURS, kitty),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"} | COLOURS, iterm2),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, iterm2),
        ({"TERM": "xterm-256color"} | COLOURS, blocks),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/s", "TERM_PROGRAM": "tmux"} | COLOURS, blocks),
        ({"TERM": "xterm-kitty", "ZELLIJ": "0"} | COLOURS, blocks),
        ({"TERM": "screen", "STY": "1", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "dumb"} | COLOURS, None),
        ({}, None),
    ],
)
def test_the_protocol_is_that_of_the_terminal(
    environment: dict[str, str], protocol: Protocol | None
) -> None:
    assert detect_protocol(environment) is protocol


@pytest.fixture
def noise() -> Image.Image:
    """Too much for one piece of kitty's protocol."""
    generator = np.random.default_rng(0)
    return Image.fromarray(generator.integers(0, 256, (48, 64, 4), dtype=np.uint8))


def test_kitty(noise: Image.Image) -> None:
    pieces = re.findall(r"\x1b_G(.*?);(.*?)\x1b\\", kitty(noise, 20))
    assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in pieces) == kitty(noise, 20)
    assert pieces[0][0] == "a=T,f=100,c=20,q=2,m=1"
    assert [keys for keys, _ in pieces[1:]] == ["m=1"] * (len(pieces) - 2) + ["m=0"]
    assert max(len(data) for _, data in pieces) <= 4096
    png = b64decode("".join(data for _, data in pieces), validate=True)
    assert np.array_equal(Image.open(BytesIO(png)), noise)


def test_iterm2(noise: Image.Image) -> None:
    written = re.fullmatch(
        r"\x1b\]1337;File=inline=1;size=(\d+);width=20;.*:(.*)\x07", iterm2(noise, 20)
    )
    assert written is not None
    png = b64decode(written[2], validate=True)
    assert len(png) == int(written[1])
    assert np.array_equal(Image.open(BytesIO(png)), noise)


def test_blocks_have_two_pixels_each_and_white_behind_what_is_transparent() -> None:
    picture = Image.new("RGBA", (2, 4), (10, 20, 30, 255))
    picture.putpixel((1, 0), (0, 0, 0, 0))
    dark, white = "10;20;30", "255;255;255"
    rows = [[(dark, dark), (white, dark)], [(dark, dark), (dark, dark)]]
    lines = [
        "".join(f"\x1b[38;2;{above};48;2;{below}m▀" for above, below in row) + "\x1b[0m"
        for row in rows
    ]
    assert blocks(picture, 2) == "\n".join(lines)


def test_a_picture_is_shown_upright_and_small_and_a_damaged_one_not(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    picture = Image.new("RGB", (2000, 100), "red")
    picture.paste("blue", (1000, 0, 2000, 100))
    picture.save(path, exif=exif)
    shown: list[tuple[Image.Image, int]] = []

    def protocol(upright: Image.Image, columns: int) -> str:
        shown.append((upright, columns))
        return "shown"

    limits = MediaLimits()
    assert draw(read_picture(str(path), limits), protocol, 80) == "shown"
    ((upright, columns),) = shown
    assert upright.size == (24, 480)
    assert [upright.getpixel((12, y))[:3] for y in (5, 475)] == [(255, 0, 0), (0, 0, 255)]
    assert columns == 2
    assert len(blocks(upright, columns).split("\n")) == 15
    path.write_bytes(path.read_bytes()[:200])
    assert draw(read_picture(str(path), limits), protocol, 80) is None
