"""PaliGemma (Beyer et al., 2024, arXiv:2407.07726): SigLIP before Gemma, the prompt seen whole."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ....core.contracts.interfaces import BuildContext
from ....core.contracts.specs import JsonDict
from ....core.layers.ragged import apply_batched
from ....core.layers.vision_language import VisionLanguageModel


class Projector(nn.Module):
    """One linear layer from the tower's width to the decoder's."""

    def __init__(self, vision_width: int, text_width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(vision_width, text_width)


class PaliGemmaForConditionalGeneration(VisionLanguageModel):
    """See `plugin.interfaces.LanguageModel` and `MultiModalModel`."""

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        # That the prompt sees itself is said by the request, not by the decoder.
        text_config = {**config["text_config"], "use_bidirectional_attention": False}
        tower = build.vision_encoder(config["vision_config"], ())
        super().__init__({**config, "text_config": text_config}, build, tower)
        self.multi_modal_projector = Projector(tower.hidden_size, self.hidden_size)

    def encode_images(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]]
    ) -> Sequence[Tensor]:
        """[channels, height, width] of each -> [num_tokens, hidden_size]."""
        return apply_batched(self.multi_modal_projector.linear, self.vision_tower(images))
