"""Idefics3 (Laurençon et al., 2024, arXiv:2408.12637) and SmolVLM (arXiv:2504.05299)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor, nn

from ....core.contracts.interfaces import BuildContext
from ....core.contracts.specs import JsonDict
from ....core.layers.patches import pixel_shuffle
from ....core.layers.ragged import apply_batched, encode_stacked
from ....core.layers.vision_language import VisionLanguageModel


class Idefics3ForConditionalGeneration(VisionLanguageModel):
    """See `plugin.interfaces.LanguageModel` and `MultiModalModel`."""

    renames = (
        (re.compile(r"^model\.vision_model\."), "vision_tower."),
        (re.compile(r"^model\.connector\.modality_projection\."), "connector."),
        (re.compile(r"^model\.text_model\."), "language_model.model."),
        (re.compile(r"^lm_head\."), "language_model.lm_head."),
    )

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        tower = build.vision_encoder(config["vision_config"], ())
        super().__init__(config, build, tower)
        self._factor: int = config["scale_factor"]
        width = tower.hidden_size * self._factor**2
        self.connector = nn.ModuleDict({"proj": nn.Linear(width, self.hidden_size, bias=False)})

    def encode_images(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]]
    ) -> Sequence[Tensor]:
        """[tiles, channels, side, side] of each -> [num_tokens, hidden_size]."""
        return [tiles.flatten(0, 1) for tiles in apply_batched(self._encode_tiles, images)]

    def _encode_tiles(self, tiles: Tensor) -> Tensor:
        """-> [tiles, num_tokens, hidden_size]."""
        features = encode_stacked(self.vision_tower, tiles)
        projected: Tensor = self.connector["proj"](pixel_shuffle(features, self._factor))
        return projected
