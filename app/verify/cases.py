"""What both sides are asked: a few prompts, and pictures that need no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...core.media.decode import to_rgb

#: Width and height in pixels; different aspects, so that models cut and resize them differently.
_SIZES = ((64, 48), (45, 90), (120, 50))


@dataclass(frozen=True)
class Case:
    """A conversation. name: what it is called in the report."""

    name: str
    messages: list[dict[str, Any]]
    num_images: int

    @property
    def text(self) -> str:
        """What is asked."""
        text: str = self.messages[0]["content"][-1]["text"]
        return text

    @property
    def pictures(self) -> list[Image.Image]:
        """What is shown."""
        return [part["image"] for part in self.messages[0]["content"][:-1]]


def make_cases(takes_images: bool, files: Sequence[Path]) -> list[Case]:
    """Prompts of different lengths with 0, 1 and 3 images, and one for each file."""
    cases = [
        _case("short text", "Hello there", []),
        _case("long text", "Count, please: " + ", ".join(map(str, range(40))), []),
    ]
    if takes_images:
        pictures = [_picture(i, size) for i, size in enumerate(_SIZES)]
        cases.append(_case("1 image", "What is this?", pictures[:1]))
        cases.append(_case("3 images", "How do these differ?", pictures))
    for file in files:
        cases.append(_case(file.name, "What is in this picture?", [to_rgb(Image.open(file))]))
    return cases


def _case(name: str, text: str, pictures: list[Image.Image]) -> Case:
    parts = [{"type": "image", "image": picture} for picture in pictures]
    content = [*parts, {"type": "text", "text": text}]
    return Case(name, [{"role": "user", "content": content}], len(pictures))


def _picture(seed: int, size: tuple[int, int]) -> Image.Image:
    """Coarse noise and a gradient: something at every scale."""
    width, height = size
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    coarse = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    ramp = np.linspace(0, 255, width * height, dtype=np.uint8).reshape(height, width)
    return Image.blend(coarse, Image.fromarray(ramp).convert("RGB"), 0.3)
