"""Images cut into tiles: one of the whole image, then those of the grid that suits it best."""

from __future__ import annotations

import copy
from hashlib import sha256
from typing import Any, Self

import numpy as np
from PIL import Image

from ....core.contracts.specs import ImagePreprocessor, ImageSize, JsonDict, PreprocessedImage
from ....core.media.preprocess import (
    OPENAI_MEAN,
    OPENAI_STD,
    Pixels,
    PreprocessConfig,
    cut_tiles,
    on_canvas,
    to_pixels,
)
from .anyres import WHOLE_ONLY, TileGrid, best_grid, crop_features, fit_within

_DEFAULTS: dict[str, Any] = {
    "size": {},
    "resample": 3,
    "image_mean": OPENAI_MEAN,
    "image_std": OPENAI_STD,
}


class AnyresPreprocessor(ImagePreprocessor):
    """See `plugin.ImagePreprocessor`.

    Pixel values are [tiles, 3, side, side]. The layout is the rows and columns of the grid, and
    the crop of its features; see Crop. Raises ValueError for settings that give uneven tiles.
    """

    max_tiles: int | None = None
    whole_only = False

    def __init__(self, config: JsonDict, processor_config: JsonDict, side: int) -> None:
        given = {**processor_config, "do_resize": False, "size": {}, "do_center_crop": False}
        self._config = PreprocessConfig.from_dict(given, _DEFAULTS)
        vision = config["vision_config"]
        size = processor_config.get("size") or {}
        self._tile = int(size.get("height") or size.get("shortest_edge") or side)
        crop = processor_config.get("crop_size") or {}
        pinpoints = processor_config.get("image_grid_pinpoints") or config["image_grid_pinpoints"]
        sides = {self._tile, crop.get("height", self._tile), vision["image_size"]}
        if len(sides) > 1 or any(side % self._tile for point in pinpoints for side in point):
            raise ValueError(
                f"preprocessor_config.json: image_grid_pinpoints {pinpoints} are no tiles of the "
                f"tower's {vision['image_size']} pixels a side"
            )
        self._grids = [TileGrid(h // self._tile, w // self._tile) for h, w in pinpoints]
        self._features_per_side: int = self._tile // vision["patch_size"]
        self._max_tokens: int | None = None

    def num_tokens(self, size: ImageSize) -> int:
        """The features of the whole, and what is kept of the grid's."""
        return self._count(size, self._grid(size))

    def preprocess(self, image: Image.Image) -> PreprocessedImage:
        """An RGB image -> its tiles."""
        size = ImageSize(*image.size)
        pixels, grid = to_pixels(image), self._grid(size)
        tiles = self.whole(pixels)[None]
        if grid is WHOLE_ONLY:
            return PreprocessedImage(self._config.normalize(tiles))
        tiles = np.concatenate((tiles, self._cut(pixels, size, grid)))
        crop = crop_features(size, grid, self._features_per_side, self.max_tiles)
        layout = (grid.rows, grid.columns, *vars(crop).values())
        return PreprocessedImage(self._config.normalize(tiles), layout)

    def whole(self, pixels: Pixels) -> Pixels:
        """[3, height, width] -> all of it in one tile, whatever its aspect."""
        return self._config.resize(pixels, (self._tile, self._tile))

    def fingerprint(self) -> str:
        """A digest of the settings."""
        parts = (
            self._config.fingerprint(),
            self._tile,
            self._grids,
            self.max_tiles,
            self.whole_only,
            self._max_tokens,
        )
        return sha256(repr(parts).encode()).hexdigest()

    def limited(self, max_tokens: int) -> ImagePreprocessor:
        """One that takes only grids of so few tokens, or none."""
        return self._with(_max_tokens=max_tokens)

    def _with(self, **changes: object) -> Self:
        changed = copy.copy(self)
        vars(changed).update(changes)
        return changed

    def _grid(self, size: ImageSize) -> TileGrid:
        grids = [] if self.whole_only else self._grids
        limit = self._max_tokens
        if limit is not None:
            grids = [grid for grid in grids if self._count(size, grid) <= limit]
        return best_grid(size, grids, self._tile) if grids else WHOLE_ONLY

    def _count(self, size: ImageSize, grid: TileGrid) -> int:
        side = self._features_per_side
        if grid is WHOLE_ONLY:
            return side**2 + 1
        return side**2 + crop_features(size, grid, side, self.max_tiles).num_features

    def _cut(self, pixels: Pixels, size: ImageSize, grid: TileGrid) -> Pixels:
        """[3, height, width] -> [grid.count, 3, tile, tile], the margins black."""
        frame = (grid.rows * self._tile, grid.columns * self._tile)
        fitted = self._config.resize(pixels, fit_within(size, *frame))
        return cut_tiles(on_canvas(fitted, frame), self._tile)


class NextPreprocessor(AnyresPreprocessor):
    """LLaVA-NeXT's."""

    def __init__(self, config: JsonDict, processor_config: JsonDict) -> None:
        super().__init__(config, processor_config, side=224)


class OneVisionPreprocessor(AnyresPreprocessor):
    """LLaVA-OneVision's: many features are shrunk, and among others an image is one tile."""

    def __init__(self, config: JsonDict, processor_config: JsonDict) -> None:
        super().__init__(config, processor_config, side=384)
        ratio: str = config["vision_aspect_ratio"]
        if not ratio.startswith("anyres_max_"):
            raise ValueError(f"vision_aspect_ratio {ratio!r} is not supported; use anyres_max_9")
        self.max_tiles = int(ratio.removeprefix("anyres_max_"))

    def among(self, num_images: int) -> ImagePreprocessor:
        """Several images are shown whole."""
        return self._with(whole_only=True) if num_images > 1 else self

    def whole(self, pixels: Pixels) -> Pixels:
        """Among others, an image keeps its aspect, on a square of the mean colour."""
        if self.whole_only:
            side = max(pixels.shape[1:])
            colour = [int(255 * mean) for mean in self._config.mean]
            pixels = on_canvas(pixels, (side, side), colour)
        return super().whole(pixels)
