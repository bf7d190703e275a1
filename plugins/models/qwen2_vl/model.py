"""Qwen2-VL (arXiv:2409.12191) and Qwen2.5-VL: images at their own size before a Qwen2 decoder."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor

from ....core.contracts.interfaces import BuildContext
from ....core.contracts.specs import JsonDict
from ....core.layers.vision_language import VisionLanguageModel


class Qwen2VLForConditionalGeneration(VisionLanguageModel):
    """See `plugin.interfaces.LanguageModel` and `MultiModalModel`."""

    renames = (
        (re.compile(r"^(model\.)?visual\."), "vision_tower."),
        (re.compile(r"^model\.(language_model\.)?"), "language_model.model."),
        (re.compile(r"^lm_head\."), "language_model.lm_head."),
    )

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        super().__init__(config, build, build.vision_encoder(config["vision_config"], ()))

    def encode_images(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]]
    ) -> Sequence[Tensor]:
        """[patches, values] of each -> [num_tokens, hidden_size]; no projector."""
        return self.vision_tower(images, layouts)
