"""Images spread over the grid of tiles whose aspect is nearest, and a thumbnail of the whole."""

from __future__ import annotations

import copy
from hashlib import sha256
from typing import Any

import numpy as np
from PIL import Image

from ....core.contracts.specs import ImagePreprocessor, ImageSize, JsonDict, PreprocessedImage
from ....core.media.preprocess import (
    OPENAI_MEAN,
    OPENAI_STD,
    PreprocessConfig,
    cut_tiles,
    to_pixels,
)

_DEFAULTS: dict[str, Any] = {
    "size": {},
    "resample": 3,
    "image_mean": OPENAI_MEAN,
    "image_std": OPENAI_STD,
}
_TILE, _MAX_TILES = 384, 12


class InternVLPreprocessor(ImagePreprocessor):
    """See `plugin.ImagePreprocessor`. Pixel values are [tiles, 3, side, side], the
    thumbnail last, if there is more than one. Raises ValueError for tiles that aren't square."""

    def __init__(self, config: JsonDict, processor_config: JsonDict) -> None:
        given = {**processor_config, "do_resize": False, "size": {}}
        self._config = PreprocessConfig.from_dict(given, _DEFAULTS)
        size = processor_config.get("size") or {"height": _TILE, "width": _TILE}
        if size.get("height") is None or size.get("height") != size.get("width"):
            raise ValueError(f"preprocessor_config.json: size {size} is not square")
        self._tile: int = size["height"]
        self._fewest: int = processor_config.get("min_patches") or 1
        self._most: int = processor_config.get("max_patches") or _MAX_TILES
        patches_per_side = self._tile // config["vision_config"]["patch_size"][0]
        self._features_per_tile = int(patches_per_side * config["downsample_ratio"]) ** 2

    def num_tokens(self, size: ImageSize) -> int:
        """Features of all tiles."""
        rows, columns = self._grid(size)
        count = rows * columns
        return (count + 1 if count > 1 else 1) * self._features_per_tile

    def preprocess(self, image: Image.Image) -> PreprocessedImage:
        """An RGB image -> its tiles."""
        rows, columns = self._grid(ImageSize(*image.size))
        pixels = to_pixels(image)
        spread = self._config.resize(pixels, (rows * self._tile, columns * self._tile))
        tiles = cut_tiles(spread, self._tile)
        if len(tiles) > 1:
            thumbnail = self._config.resize(pixels, (self._tile, self._tile))
            tiles = np.concatenate((tiles, thumbnail[None]))
        return PreprocessedImage(self._config.normalize(tiles))

    def fingerprint(self) -> str:
        """A digest of the settings."""
        parts = (self._config.fingerprint(), self._tile, self._fewest, self._most)
        return sha256(repr(parts).encode()).hexdigest()

    def limited(self, max_tokens: int) -> ImagePreprocessor:
        """One of so few tiles that they, the thumbnail and the two tokens around fit."""
        limited = copy.copy(self)
        most = (max_tokens - 2) // self._features_per_tile - 1
        limited._most = max(1, min(self._most, most))
        limited._fewest = min(self._fewest, limited._most)
        return limited

    def _grid(self, size: ImageSize) -> tuple[int, int]:
        """Rows and columns nearest in aspect; among equals, more while the image has at least
        half of their pixels."""
        aspect = size.width / size.height
        best, least = (1, 1), float("inf")
        grids = (
            (rows, columns)
            for columns in range(1, self._most + 1)
            for rows in range(1, self._most + 1)
            if self._fewest <= rows * columns <= self._most
        )
        for rows, columns in sorted(grids, key=lambda grid: grid[0] * grid[1]):
            difference = abs(aspect - columns / rows)
            half_filled = size.width * size.height > 0.5 * self._tile**2 * rows * columns
            if difference < least or (difference == least and half_filled):
                best, least = (rows, columns), difference
        return best
