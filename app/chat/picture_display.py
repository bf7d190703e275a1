"""Pictures shown within a terminal: by a protocol for them, or by coloured blocks."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from .picture import Picture

#: Gives what is written to a terminal for a picture, to be shown so many cells wide.
Protocol = Callable[[Image.Image, int], str]

_MOST_PIXELS = (640, 480)
_MOST_CELLS = (40, 15)
_CHUNK = 4096
#: Programs between this one and the terminal, which show such sequences as garbage.
_BETWEEN = ("TMUX", "STY", "ZELLIJ")


def detect_protocol(environment: Mapping[str, str]) -> Protocol | None:
    """By what terminals say of themselves in the environment; None for those without colours."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if term in ("", "dumb"):
        return None
    plain = blocks if environment.get("COLORTERM") in ("truecolor", "24bit") else None
    if any(environment.get(name) for name in _BETWEEN) or term.startswith(("screen", "tmux")):
        return plain
    if term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return kitty
    if environment.get("KITTY_WINDOW_ID"):
        return kitty
    if program in ("iTerm.app", "WezTerm", "mintty") or environment.get("LC_TERMINAL") == "iTerm2":
        return iterm2
    return plain


def kitty(picture: Image.Image, columns: int) -> str:
    """By the graphics protocol of kitty: sw.kovidgoyal.net/kitty/graphics-protocol. Without
    answers from the terminal (q=2), which would be read as if they had been typed."""
    text = b64encode(_png(picture)).decode()
    parts = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    written = []
    for i, part in enumerate(parts):
        first = f"a=T,f=100,c={columns},q=2," if i == 0 else ""
        more = int(i < len(parts) - 1)
        written.append(f"\x1b_G{first}m={more};{part}\x1b\\")
    return "".join(written)


def iterm2(picture: Image.Image, columns: int) -> str:
    """By iTerm2's protocol of inline images: iterm2.com/documentation-images.html."""
    png = _png(picture)
    fields = f"inline=1;size={len(png)};width={columns};preserveAspectRatio=1"
    return f"\x1b]1337;File={fields}:{b64encode(png).decode()}\x07"


def blocks(picture: Image.Image, columns: int) -> str:
    """A character for two pixels, one above the other: the upper half of its cell is in its own
    colour, the lower in that of its background. What is transparent is white."""
    rows = min(_MOST_CELLS[1], max(1, round(columns * picture.height / picture.width / 2)))
    white = Image.new("RGBA", picture.size, "white")
    opaque = Image.alpha_composite(white, picture).convert("RGB")
    pixels = np.asarray(opaque.resize((columns, 2 * rows)))
    lines = []
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        cells = (
            "\x1b[38;2;{};{};{};48;2;{};{};{}m▀".format(*above, *below)
            for above, below in zip(upper, lower, strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)


def draw(picture: Picture, protocol: Protocol, columns: int) -> str | None:
    """What shows a picture in a terminal that is so many columns wide; None for a damaged one,
    of which the model will say what is wrong."""
    try:
        with Image.open(BytesIO(picture.data), formats=[picture.format]) as opened:
            opened.draft("RGB", _MOST_PIXELS)
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    upright.thumbnail(_MOST_PIXELS)
    return protocol(upright, _cells(upright.width, upright.height, columns))


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _cells(width: int, height: int, columns: int) -> int:
    """How wide it is shown; a cell is about twice as high as wide."""
    most, rows = _MOST_CELLS
    return max(1, min(most, columns - 1, round(2 * rows * width / height)))
