"""AnyRes tiling: the choice of an image's grid, and the crop of its features.

Liu et al., 2024, "LLaVA-NeXT: Improved reasoning, OCR, and world knowledge".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ....core.contracts.specs import ImageSize


@dataclass(frozen=True)
class TileGrid:
    """Rows and columns of tiles that an image is spread over, besides the one of all of it."""

    rows: int
    columns: int

    @property
    def count(self) -> int:
        """Tiles, without the one of all."""
        return self.rows * self.columns


#: The whole image in one tile, and no others.
WHOLE_ONLY = TileGrid(0, 0)


@dataclass(frozen=True)
class Crop:
    """Part of a grid of features without padding: [top, bottom), [left, right), then shrunk to
    (rows, columns)."""

    top: int
    bottom: int
    left: int
    right: int
    rows: int
    columns: int

    @property
    def num_features(self) -> int:
        """With one more at the end of each row."""
        return self.rows * (self.columns + 1)


def best_grid(size: ImageSize, grids: Sequence[TileGrid], tile: int) -> TileGrid:
    """The grid that shows most of the image's own pixels, then the one that wastes least."""

    def merit(grid: TileGrid) -> tuple[int, int]:
        height, width = grid.rows * tile, grid.columns * tile
        scale = min(width / size.width, height / size.height)
        shown = int(size.width * scale) * int(size.height * scale)
        effective = min(shown, size.width * size.height)
        return effective, effective - width * height

    return max(grids, key=merit)


def fit_within(size: ImageSize, height: int, width: int) -> tuple[int, int]:
    """(height, width) of the image at its own aspect, as large as the frame allows."""
    scale_w, scale_h = width / size.width, height / size.height
    if scale_w < scale_h:
        return min(math.ceil(size.height * scale_w), height), width
    return height, min(math.ceil(size.width * scale_h), width)


def crop_features(size: ImageSize, grid: TileGrid, side: int, max_tiles: int | None) -> Crop:
    """Crop of the features of a grid of tiles, side² each.

    max_tiles: more features than this many tiles have are shrunk.
    """
    rows, columns = grid.rows * side, grid.columns * side
    top = left = 0
    # Rounded as the checkpoints' training did.
    if size.width / size.height > columns / rows:
        top = (rows - int(round(size.height * (columns / size.width), 7))) // 2
    else:
        left = (columns - int(round(size.width * (rows / size.height), 7))) // 2
    kept_rows, kept_columns = rows - 2 * top, columns - 2 * left
    frame = (top, rows - top, left, columns - left)
    if max_tiles is not None:
        ratio = math.sqrt(kept_rows * kept_columns / (max_tiles * side**2))
        if ratio > 1.1:
            return Crop(*frame, int(kept_rows // ratio), int(kept_columns // ratio))
    return Crop(*frame, kept_rows, kept_columns)
