"""A tower of open_clip (Ilharco et al., 2021), through its own code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ....core.contracts.interfaces import BuildContext, WeightPlace
from ....core.contracts.specs import JsonDict
from .tower import build_tower, chosen_blocks, features_shape, make_tables, read_features


class OpenClipEncoder(nn.Module):
    """See `plugin.interfaces.VisionEncoder`. The class token, where the tower has one, is the first
    feature, as it is CLIP's. Raises ValueError for layers that the tower can't give."""

    def __init__(
        self, config: JsonDict, feature_layers: Sequence[int], build: BuildContext
    ) -> None:
        super().__init__()
        self.visual = build_tower(config)
        make_tables(self.visual, build.device, build.dtype)
        self._blocks = chosen_blocks(self.visual, feature_layers)
        self.hidden_size = features_shape(config, feature_layers)[1]

    def map_weight(self, name: str) -> WeightPlace:
        """Names are open_clip's, with or without the prefix of the whole model."""
        return name if name.startswith("visual.") else f"visual.{name}"

    def forward(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]] = ()
    ) -> Sequence[Tensor]:
        """See `plugin.interfaces.VisionEncoder`."""
        return list(read_features(self.visual, torch.stack(tuple(images)), self._blocks))
