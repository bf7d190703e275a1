"""Images resized by their longest side, cut into squares, and the whole in one more square."""

from __future__ import annotations

import copy
import math
from hashlib import sha256
from typing import Any

import numpy as np
from PIL import Image

from ....core.contracts.specs import ImagePreprocessor, ImageSize, JsonDict, PreprocessedImage
from ....core.media.preprocess import PreprocessConfig, cut_tiles, to_pixels

_DEFAULTS: dict[str, Any] = {
    "size": {},
    "resample": 1,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
}
_TILE, _LONGEST_EDGE, _MOST_PIXELS_A_SIDE = 364, 4 * 364, 4096


class Idefics3Preprocessor(ImagePreprocessor):
    """See `plugin.ImagePreprocessor`. Pixel values are [tiles, 3, side, side], the whole
    image last."""

    def __init__(self, config: JsonDict, processor_config: JsonDict) -> None:
        given = {**processor_config, "do_resize": False, "size": {}}
        self._config = PreprocessConfig.from_dict(given, _DEFAULTS)
        size = processor_config.get("size") or {}
        self._longest_edge: int = size.get("longest_edge", _LONGEST_EDGE)
        tile = processor_config.get("max_image_size") or {}
        self._tile: int = tile.get("longest_edge", _TILE)
        self._splits: bool = processor_config.get("do_image_splitting", True)
        self._max_tokens: int | None = None
        side: int = self._tile // config["vision_config"]["patch_size"] // config["scale_factor"]
        self.features_per_tile = side * side

    def tiles(self, size: ImageSize) -> tuple[int, int]:
        """Rows and columns of tiles besides the whole; (0, 0) if that is all."""
        height, width = self._frame(size)[1]
        rows, columns = height // self._tile, width // self._tile
        return (rows, columns) if self._splits and rows * columns > 1 else (0, 0)

    def num_tokens(self, size: ImageSize) -> int:
        """Features of all tiles."""
        return (math.prod(self.tiles(size)) + 1) * self.features_per_tile

    def preprocess(self, image: Image.Image) -> PreprocessedImage:
        """An RGB image -> its tiles."""
        first, second = self._frame(ImageSize(*image.size))
        # Twice, as the checkpoints were trained: rounding to bytes between shows.
        pixels = self._config.resize(self._config.resize(to_pixels(image), first), second)
        whole = self._config.resize(pixels, (self._tile, self._tile))[None]
        if max(second) > self._tile:
            whole = np.concatenate((cut_tiles(pixels, self._tile), whole))
        return PreprocessedImage(self._config.normalize(whole))

    def fingerprint(self) -> str:
        """A digest of the settings."""
        parts = (
            self._config.fingerprint(),
            self._longest_edge,
            self._tile,
            self._splits,
            self._max_tokens,
        )
        return sha256(repr(parts).encode()).hexdigest()

    def limited(self, max_tokens: int) -> ImagePreprocessor:
        """One with a shorter longest side, or without cutting."""
        limited = copy.copy(self)
        limited._max_tokens = max_tokens
        return limited

    def _frame(self, size: ImageSize) -> tuple[tuple[int, int], tuple[int, int]]:
        """(height, width) after each of the two resizings, the second in whole tiles."""
        tile = self._tile
        edges = [self._longest_edge]
        if self._max_tokens is not None:
            edges += range((math.ceil(self._longest_edge / tile) - 1) * tile, 0, -tile)
        for edge in edges:
            first = _by_longest_side(size, edge)
            second = _whole_tiles(first, tile) if self._splits else (tile, tile)
            if self._max_tokens is None or self._written(second) <= self._max_tokens:
                break
        return first, second

    def _written(self, frame: tuple[int, int]) -> int:
        """Tokens of the prompt for a frame, the ones around its tiles included."""
        rows, columns = (side // self._tile for side in frame)
        whole = self.features_per_tile + 3
        if rows * columns == 1:
            return whole
        return rows * (columns * (self.features_per_tile + 2) + 1) + 1 + whole


def _by_longest_side(size: ImageSize, edge: int) -> tuple[int, int]:
    """(height, width), the shorter side even."""
    aspect = size.width / size.height
    if size.width >= size.height:
        height, width = int(edge / aspect), edge
        height += height % 2
    else:
        height, width = edge, int(edge * aspect)
        width += width % 2
    height, width = max(height, 1), max(width, 1)
    aspect = width / height
    if max(height, width) > _MOST_PIXELS_A_SIDE:
        if width >= height:
            height, width = int(_MOST_PIXELS_A_SIDE / aspect), _MOST_PIXELS_A_SIDE
        else:
            height, width = _MOST_PIXELS_A_SIDE, int(_MOST_PIXELS_A_SIDE * aspect)
    return max(height, 1), max(width, 1)


def _whole_tiles(frame: tuple[int, int], tile: int) -> tuple[int, int]:
    """(height, width) as multiples of a tile, not below the frame's."""
    height, width = frame
    aspect = width / height
    if width >= height:
        width = math.ceil(width / tile) * tile
        return math.ceil(int(width / aspect) / tile) * tile, width
    height = math.ceil(height / tile) * tile
    return height, math.ceil(int(height * aspect) / tile) * tile
