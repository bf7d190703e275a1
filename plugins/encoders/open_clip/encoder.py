"""A tower of open_clip (Ilharco et al., 2021), through its own code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from open_clip.model import CLIPVisionCfg, _build_vision_tower
from torch import Tensor, nn

from ....core.contracts import JsonDict
from ....core.interfaces import BuildContext, WeightPlace
from .config import grid_stride, model_config

_build_tower: Any = _build_vision_tower


class OpenClipEncoder(nn.Module):
    """See `core.interfaces.VisionEncoder`. Features are those of the places of the grid, without
    the class token. Raises ValueError for layers of a residual network but its last."""

    def __init__(
        self, config: JsonDict, feature_layers: Sequence[int], build: BuildContext
    ) -> None:
        super().__init__()
        parsed = model_config(config)
        grid_stride(config)
        quick = bool(parsed.get("quick_gelu"))
        vision = CLIPVisionCfg(**parsed["vision_cfg"])
        self.visual = _build_tower(parsed["embed_dim"], vision, quick_gelu=quick)
        self._normalize = not feature_layers
        # There, blocks are counted; here, the states before the first and after each.
        self._layers = [layer - 1 if layer > 0 else layer for layer in feature_layers]
        is_resnet = isinstance(vision.layers, (list, tuple))
        if is_resnet and self._layers:
            raise ValueError("of a residual network only the final features are served")
        width = vision.width * (32 if is_resnet else 1)
        self.hidden_size = width * max(1, len(feature_layers))

    def map_weight(self, name: str) -> WeightPlace:
        """Names are open_clip's, with or without the prefix of the whole model."""
        return name if name.startswith("visual.") else f"visual.{name}"

    def forward(self, pixel_values: Tensor, layouts: Sequence[tuple[int, ...]] = ()) -> Tensor:
        """See `core.interfaces.VisionEncoder`."""
        found = self.visual.forward_intermediates(
            pixel_values,
            indices=self._layers or 1,
            normalize_intermediates=self._normalize,
            intermediates_only=True,
        )["image_intermediates"]
        return torch.cat(found, dim=1).flatten(2).transpose(1, 2)
