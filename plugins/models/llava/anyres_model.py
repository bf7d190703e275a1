"""LLaVA-NeXT and LLaVA-OneVision (Li et al., 2024, arXiv:2408.03326): LLaVA with tiles."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ....core.contracts.interfaces import BuildContext
from ....core.contracts.specs import JsonDict
from ....core.layers.ragged import apply_batched, encode_stacked
from ....core.layers.vision_language import VisionLanguageModel
from .anyres import Crop
from .features import FeatureSelection
from .projector import Projector


class LlavaNextForConditionalGeneration(VisionLanguageModel):
    """See `plugin.interfaces.LanguageModel` and `MultiModalModel`."""

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        features = FeatureSelection.from_dict(config)
        tower = build.vision_encoder(config["vision_config"], features.layers)
        super().__init__(config, build, tower)
        self._skip_first = features.skip_first
        self.multi_modal_projector = Projector(config, tower.hidden_size, self.hidden_size)
        self.image_newline = nn.Parameter(torch.empty(self.hidden_size))

    def encode_images(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]]
    ) -> Sequence[Tensor]:
        """[tiles, channels, height, width] of each -> [num_tokens, hidden_size]."""
        tiles = apply_batched(self._encode_tiles, images)
        return [self._join(image, layout) for image, layout in zip(tiles, layouts, strict=True)]

    def _encode_tiles(self, tiles: Tensor) -> Tensor:
        """-> [tiles, num_tokens, hidden_size]."""
        features = encode_stacked(self.vision_tower, tiles)
        if self._skip_first:
            features = features[:, 1:]
        projected: Tensor = self.multi_modal_projector(features)
        return projected

    def _join(self, tiles: Tensor, layout: tuple[int, ...]) -> Tensor:
        """[tiles, features, hidden_size] -> the whole's, then the grid's, row by row, each row
        ended by the newline."""
        newline = self.image_newline[None]
        if not layout:
            return torch.cat((tiles[0], newline))
        rows, columns, *frame = layout
        crop = Crop(*frame)
        side = int(tiles.shape[1] ** 0.5)
        grid = tiles[1:].view(rows, columns, side, side, -1).permute(4, 0, 2, 1, 3)
        grid = grid.reshape(-1, rows * side, columns * side)
        grid = grid[:, crop.top : crop.bottom, crop.left : crop.right]
        if grid.shape[1:] != (crop.rows, crop.columns):
            grid = interpolate(grid[None], (crop.rows, crop.columns), mode="bilinear")[0]
        lines = grid.permute(1, 2, 0)
        ends = newline.expand(crop.rows, 1, -1)
        return torch.cat((tiles[0], torch.cat((lines, ends), dim=1).flatten(0, 1)))


class LlavaOnevisionForConditionalGeneration(LlavaNextForConditionalGeneration):
    """LLaVA-NeXT's model with another preprocessor."""
