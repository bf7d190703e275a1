"""LLaVA (Liu et al., 2023, arXiv:2310.03744): a vision tower projected into a decoder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ....core.contracts.interfaces import BuildContext
from ....core.contracts.specs import JsonDict
from ....core.layers.ragged import apply_batched
from ....core.layers.vision_language import VisionLanguageModel
from .features import FeatureSelection
from .projector import Projector


class LlavaForConditionalGeneration(VisionLanguageModel):
    """See `plugin.interfaces.LanguageModel` and `MultiModalModel`."""

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        features = FeatureSelection.from_dict(config)
        tower = build.vision_encoder(config["vision_config"], features.layers)
        super().__init__(config, build, tower)
        self._skip_first = features.skip_first
        self.multi_modal_projector = Projector(config, tower.hidden_size, self.hidden_size)

    def encode_images(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]]
    ) -> Sequence[Tensor]:
        """See `plugin.interfaces.MultiModalModel`."""
        features = self.vision_tower(images, layouts)
        if self._skip_first:
            features = [rows[1:] for rows in features]
        return apply_batched(self.multi_modal_projector, features)
