"""The requests of a benchmark: how long they are, and which of them show which image."""

from __future__ import annotations

import argparse
import base64
import io
import random
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..core.protocol.config import ConfigError

#: Each a token of its own in most vocabularies.
_COMMON_WORDS = (
    "the of and to in is that it was for on are with as they be at one have this from by hot word "
    "but what some we can out other were all there when up use your how said an each she which do "
    "their time if will way about many then them write would like so these her long make thing see "
    "him two has look more day could go come did number sound no most people my over know water "
    "than call first who may down side been now find"
)


@dataclass(frozen=True)
class Lengths:
    """Whole numbers drawn evenly from low to high, both included."""

    low: int
    high: int

    def draw(self, rng: random.Random) -> int:
        """One of them."""
        return rng.randint(self.low, self.high)

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


def parse_lengths(text: str) -> Lengths:
    """ "512", or "64-512" for any from 64 to 512. For argparse."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= low <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is no length; write 512, or 64-512 for a range")
    return Lengths(low, high)


@dataclass(frozen=True, kw_only=True)
class RequestMix:
    """What is asked. Raises ConfigError for a value that can't work.

    input_len: of the text after the prefix; prefix_len: what all prompts begin with. Offline both
        are tokens; a server is sent words, about a token each.
    image_share: of the requests that show an image; distinct_images: among these; None for as
        many as there are requests with one. image_size: of its sides, in pixels.
    """

    num_prompts: int
    input_len: Lengths
    output_len: Lengths
    prefix_len: int = 0
    image_share: float = 0.0
    distinct_images: int | None = None
    image_size: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_prompts", "distinct_images", "image_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if not 0 <= self.image_share <= 1:
            raise ConfigError(f"image_share must be from 0 to 1, got {self.image_share}")
        if self.prefix_len < 0:
            raise ConfigError(f"prefix_len must be at least 0, got {self.prefix_len}")


@dataclass(frozen=True)
class RequestShape:
    """image: its number, which its pixels are drawn from; None for a request without one."""

    index: int
    prefix_len: int
    input_len: int
    output_len: int
    image: int | None


def draw_shapes(mix: RequestMix) -> list[RequestShape]:
    """The requests in order; the same seed gives the same ones."""
    rng = random.Random(mix.seed)
    count = round(mix.image_share * mix.num_prompts)
    images: list[int | None] = [i % (mix.distinct_images or count) for i in range(count)]
    images += [None] * (mix.num_prompts - count)
    rng.shuffle(images)
    return [
        RequestShape(i, mix.prefix_len, mix.input_len.draw(rng), mix.output_len.draw(rng), image)
        for i, image in enumerate(images)
    ]


def warm_up_shape(mix: RequestMix, number: int) -> RequestShape:
    """A request of the mix's kind that shares neither prefix nor image with any of its own."""
    image = mix.num_prompts + number if mix.image_share else None
    return RequestShape(-1 - number, 0, mix.input_len.low, mix.output_len.low, image)


def text_of(shape: RequestShape, seed: int) -> str:
    """Words, the first prefix_len of which are every request's."""
    words = _COMMON_WORDS.split()
    prefix = random.Random(f"prefix {seed}").choices(words, k=shape.prefix_len)
    own = random.Random(f"{shape.index} {seed}").choices(words, k=shape.input_len)
    return " ".join(prefix + own)


def token_ids_of(shape: RequestShape, seed: int, vocab_size: int) -> list[int]:
    """Token ids, the first prefix_len of which are every request's; special ones are usually at
    the ends of a vocabulary and are left out."""
    tenth = vocab_size // 10
    prefix, own = random.Random(f"prefix {seed}"), random.Random(f"{shape.index} {seed}")
    ids = [prefix.randrange(tenth, 9 * tenth) for _ in range(shape.prefix_len)]
    return ids + [own.randrange(tenth, 9 * tenth) for _ in range(shape.input_len)]


def noise_image(number: int, side: int) -> Image.Image:
    """A square of noise."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def noise_url(number: int, side: int) -> str:
    """The same as a data: URL of a PNG."""
    buffer = io.BytesIO()
    noise_image(number, side).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def chat_messages(text: str, image: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A question, after an image part if there is one."""
    if image is None:
        return [{"role": "user", "content": text}]
    return [{"role": "user", "content": [image, {"type": "text", "text": text}]}]
