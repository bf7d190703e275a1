"""Simple pictures of the kind that the demo model knows, drawn alike everywhere.

A thing of one colour on a plain background, 64 × 64 pixels, which the model takes as they are:
nothing depends on how a library draws or scales.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SIZE, _SAMPLES = 64, 4
#: Typical sRGB values of the names that the model was taught.
_COLOURS = {
    "red": (217, 31, 38),
    "yellow": (250, 217, 38),
    "green": (51, 166, 64),
    "blue": (38, 102, 217),
    "pink": (247, 153, 191),
}
_BACKGROUNDS = {"white": (250, 250, 250), "black": (18, 18, 18)}


@dataclass(frozen=True)
class Drawing:
    """thing: a name in the demo model's concepts.json; colour, background: of the picture."""

    thing: str
    colour: str
    background: str

    def draw(self) -> Image.Image:
        """The picture."""
        step = np.arange(0.5, _SIZE * _SAMPLES) / (_SIZE * _SAMPLES / 2) - 1
        inside = _SHAPES[self.thing](step[None, :], -step[:, None])
        blocks = inside.reshape(_SIZE, _SAMPLES, _SIZE, _SAMPLES)
        covered = blocks.sum((1, 3), dtype=np.int64)[..., None]
        colour, background = _COLOURS[self.colour], _BACKGROUNDS[self.background]
        whole = _SAMPLES * _SAMPLES
        pixels = (covered * colour + (whole - covered) * np.array(background)) // whole
        return Image.fromarray(pixels.astype(np.uint8))


def all_drawings() -> list[Drawing]:
    """The fixed set, in its order."""
    return [Drawing(*names) for names in itertools.product(_SHAPES, _COLOURS, _BACKGROUNDS)]


def _heart(x: Plane, y: Plane) -> Mask:
    """The well-known sextic."""
    x, y = x * 1.4, y * 1.4 + 0.1
    return np.asarray((x**2 + y**2 - 1) ** 3 <= x**2 * y**3)


def _moon(x: Plane, y: Plane) -> Mask:
    return np.asarray((x**2 + y**2 < 0.7) & ((x - 0.35) ** 2 + (y - 0.2) ** 2 > 0.5))


def _water_drop(x: Plane, y: Plane) -> Mask:
    bulb = x**2 + (y + 0.3) ** 2 < 0.27
    tip = (np.abs(x) < 0.46 * (0.85 - y) / 0.9) & (y > -0.05) & (y < 0.85)
    return np.asarray(bulb | tip)


def _star(x: Plane, y: Plane) -> Mask:
    """Five points: inside at least four of the five lines that join them."""
    angles = np.pi / 2 + np.arange(5) * 2 * np.pi / 5
    sides = [x * np.cos(a + np.pi) + y * np.sin(a + np.pi) < 0.28 for a in angles]
    return np.asarray(sum(side.astype(int) for side in sides) >= 4)


def _lightning(x: Plane, y: Plane) -> Mask:
    """Two slanted strokes, the upper one further to the right at its foot."""
    upper = (y > -0.05) & (y < 0.85) & (np.abs(x + 0.05 - 0.5 * (y - 0.4)) < 0.25)
    lower = (y < 0.15) & (y > -0.85) & (np.abs(x - 0.12 - 0.5 * (y + 0.1)) < 0.25 * (y + 0.85))
    return np.asarray(upper | lower)


def _cloud(x: Plane, y: Plane) -> Mask:
    puffs = ((-0.45, -0.15, 0.1), (0.0, 0.1, 0.2), (0.45, -0.1, 0.13))
    round_parts = [(x - a) ** 2 + (y - b) ** 2 < square for a, b, square in puffs]
    base = (np.abs(x) < 0.5) & (y > -0.46) & (y < 0)
    return np.asarray(np.any([part | base for part in round_parts], axis=0))


_SHAPES: dict[str, Callable[[Plane, Plane], Mask]] = {
    "heart": _heart,
    "moon": _moon,
    "water drop": _water_drop,
    "star": _star,
    "lightning": _lightning,
    "cloud": _cloud,
}
