"""A folder of pictures as people have them, with what lies between them."""

from __future__ import annotations

import io
import os
import random
import socket
from pathlib import Path

from PIL import Image


def make_odd_pictures(folder: Path, count: int, seed: int) -> tuple[set[str], set[str]]:
    """Returns the names of pictures that can be captioned, and of those that fail: some have bytes
    that are no text, a newline, another's ending, no ending, too many pixels or none. Others are
    none."""
    rng = random.Random(seed)
    good, bad = set(), set()
    for i in range(count):
        place = folder / rng.choice(["", "sub", "sub/deep er"])
        place.mkdir(parents=True, exist_ok=True)
        name, image_format = _name(rng, i)
        path = os.fsencode(place) + b"/" + name
        data = _picture(rng, i, image_format)
        if rng.random() < 0.06:
            data = rng.choice([b"", b"no picture", data[: len(data) // 2]])
            path = os.fsencode(place) + b"/%d.png" % i
            bad.add(os.fsdecode(path))
        else:
            good.add(os.fsdecode(path))
        with open(path, "wb") as file:
            file.write(data)
    _make_others(folder)
    return good, bad


def _name(rng: random.Random, i: int) -> tuple[bytes, str]:
    image_format = rng.choice(["PNG", "JPEG", "WEBP", "GIF", "BMP"])
    ending = {"JPEG": rng.choice(["jpg", "jfif", "jpe", "JPG"])}.get(
        image_format, image_format.lower()
    )
    kind = rng.randrange(12)
    if kind == 0:
        return b"caf\xe9 %d." % i + ending.encode(), image_format
    if kind == 1:
        return f"новая\n🐈 {i}.{ending}".encode(), image_format
    if kind == 2:
        return b"%d.txt" % i, image_format
    if kind == 3:
        return b"no ending %d" % i, image_format
    return f"IMG_{i}.{ending}".encode(), image_format


def _picture(rng: random.Random, i: int, image_format: str) -> bytes:
    size = (1000, 400) if rng.random() < 0.02 else (rng.randrange(8, 80), rng.randrange(8, 80))
    colour = (i % 256, i // 256 % 256, rng.randrange(256))
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, image_format)
    return file.getvalue()


def _make_others(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    (folder / "nowhere.jpg").symlink_to("gone.jpg")
    (folder / "loop").symlink_to(".")
    (folder / "folder.png").mkdir()
    (folder / ".hidden.png").write_bytes(b"hidden")
    (folder / "notes.md").write_text("no picture")
    with socket.socket(socket.AF_UNIX) as sock:
        previous = os.getcwd()
        os.chdir(folder)
        try:
            sock.bind("socket.png")
        finally:
            os.chdir(previous)
