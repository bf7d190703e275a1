"""Gemma 3 (arXiv:2503.19786): SigLIP's patches, averaged into fewer, before the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from ....core.contracts.interfaces import BuildContext
from ....core.contracts.specs import JsonDict
from ....core.layers.norm import RMSNorm
from ....core.layers.ragged import encode_stacked
from ....core.layers.vision_language import VisionLanguageModel


class Projector(nn.Module):
    """Patches averaged over squares, normed, and projected to the decoder's width."""

    def __init__(
        self, config: JsonDict, vision_width: int, text_width: int, build: BuildContext
    ) -> None:
        super().__init__()
        vision = config["vision_config"]
        self._patches_per_side: int = vision["image_size"] // vision["patch_size"]
        self._pool = self._patches_per_side // isqrt(config["mm_tokens_per_image"])
        self.mm_input_projection_weight = nn.Parameter(torch.empty(vision_width, text_width))
        self.mm_soft_emb_norm = RMSNorm(
            vision_width, vision["layer_norm_eps"], build.kernels, unit_offset=True
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, patches, vision_width] -> [n, tokens, text_width]."""
        side = self._patches_per_side
        pooled = avg_pool2d(x.transpose(1, 2).reshape(len(x), -1, side, side), self._pool)
        normed: Tensor = self.mm_soft_emb_norm(pooled.flatten(2).transpose(1, 2))
        return normed @ self.mm_input_projection_weight


class Gemma3ForConditionalGeneration(VisionLanguageModel):
    """See `plugin.interfaces.LanguageModel` and `MultiModalModel`."""

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        tower = build.vision_encoder(config["vision_config"], ())
        super().__init__(config, build, tower)
        self.multi_modal_projector = Projector(config, tower.hidden_size, self.hidden_size, build)

    def encode_images(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]]
    ) -> Sequence[Tensor]:
        """[channels, height, width] of each -> [num_tokens, hidden_size]."""
        return list(self.multi_modal_projector(encode_stacked(self.vision_tower, images)))
