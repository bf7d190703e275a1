"""Qwen2-VL's preprocessing: near its own size and aspect, cut into patches."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from PIL import Image

from ....core.contracts.specs import ImagePreprocessor, ImageSize, JsonDict, PreprocessedImage
from ....core.media.preprocess import OPENAI_MEAN, OPENAI_STD, PreprocessConfig

_DEFAULTS = {"size": {}, "resample": 3, "image_mean": OPENAI_MEAN, "image_std": OPENAI_STD}
_MIN_PIXELS, _MAX_PIXELS = 56 * 56, 28 * 28 * 1280
_MAX_ASPECT = 200


@dataclass(frozen=True)
class PixelRange:
    """Range of a resized image's pixels, both sides being multiples of `step`."""

    smallest: int
    largest: int
    step: int

    def fit(self, size: ImageSize) -> tuple[int, int]:
        """(height, width) nearest to the image's own. Raises ValueError for a thin strip."""
        width, height = size
        if max(size) > _MAX_ASPECT * min(size):
            raise ValueError(
                f"the image has {width} x {height} pixels; one side may be at most {_MAX_ASPECT} "
                "times the other"
            )
        rows, columns = round(height / self.step), round(width / self.step)
        pixels = rows * columns * self.step**2
        if pixels > self.largest:
            shrink = math.sqrt(height * width / self.largest) * self.step
            rows, columns = (max(1, math.floor(side / shrink)) for side in (height, width))
        elif pixels < self.smallest:
            grow = math.sqrt(self.smallest / (height * width)) / self.step
            rows, columns = (math.ceil(side * grow) for side in (height, width))
        return rows * self.step, columns * self.step


class QwenPreprocessor(ImagePreprocessor):
    """See `plugin.ImagePreprocessor`.

    Pixel values are [patches, channels * frames * patch_size²], the patches that are merged into
    one feature side by side; the layout is the rows and columns of patches.
    """

    def __init__(self, vision_config: JsonDict, processor_config: JsonDict) -> None:
        given = {**processor_config, "do_resize": False, "size": {}}
        self._config = PreprocessConfig.from_dict(given, _DEFAULTS)
        self._patch: int = vision_config["patch_size"]
        self._frames: int = vision_config["temporal_patch_size"]
        self._merge: int = vision_config["spatial_merge_size"]
        size = processor_config.get("size") or {}
        self._range = PixelRange(
            processor_config.get("min_pixels") or size.get("shortest_edge") or _MIN_PIXELS,
            processor_config.get("max_pixels") or size.get("longest_edge") or _MAX_PIXELS,
            self._patch * self._merge,
        )

    def num_tokens(self, size: ImageSize) -> int:
        """One for each square of merged patches."""
        return math.prod(self.grid(size))

    def grid(self, size: ImageSize) -> tuple[int, int]:
        """Rows and columns of merged patches."""
        height, width = self._range.fit(size)
        return height // self._range.step, width // self._range.step

    def preprocess(self, image: Image.Image) -> PreprocessedImage:
        """An RGB image -> its patches."""
        height, width = self._range.fit(ImageSize(*image.size))
        pixels = replace(self._config, resize_to=(height, width)).apply(image)
        rows, columns = height // self._range.step, width // self._range.step
        merge, patch = self._merge, self._patch
        squares = pixels.reshape(-1, rows, merge, patch, columns, merge, patch)
        patches = squares.transpose(1, 4, 2, 5, 0, 3, 6)[..., None, :, :]
        # A still image is a film of equal frames.
        film = np.broadcast_to(patches, (*patches.shape[:5], self._frames, patch, patch))
        return PreprocessedImage(
            film.reshape(rows * columns * merge**2, -1), (rows * merge, columns * merge)
        )

    def fingerprint(self) -> str:
        """A digest of the settings."""
        parts = (self._config.fingerprint(), self._range, self._patch, self._frames, self._merge)
        return sha256(repr(parts).encode()).hexdigest()

    def limited(self, max_tokens: int) -> QwenPreprocessor:
        """With fewer pixels; a strip still takes a token for each step of its length."""
        limited = object.__new__(QwenPreprocessor)
        limited.__dict__.update(self.__dict__)
        largest = min(self._range.largest, max_tokens * self._range.step**2)
        limited._range = replace(
            self._range, smallest=min(self._range.smallest, largest), largest=largest
        )
        return limited
