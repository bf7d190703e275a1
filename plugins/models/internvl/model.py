"""InternVL 2.5 and 3 (Chen et al., 2024, arXiv:2412.05271): InternViT before a decoder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ....core.contracts.interfaces import BuildContext
from ....core.contracts.specs import JsonDict
from ....core.layers.activation import get_activation
from ....core.layers.patches import pixel_shuffle
from ....core.layers.ragged import apply_batched, encode_stacked
from ....core.layers.vision_language import VisionLanguageModel


class Projector(nn.Module):
    """A norm and two linear layers."""

    def __init__(self, config: JsonDict, vision_width: int, text_width: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(vision_width)
        self.linear_1 = nn.Linear(vision_width, text_width)
        self.linear_2 = nn.Linear(text_width, text_width)
        self._activation = get_activation(config["projector_hidden_act"])

    def forward(self, x: Tensor) -> Tensor:
        """[..., vision_width] -> [..., text_width]."""
        output: Tensor = self.linear_2(self._activation(self.linear_1(self.layer_norm(x))))
        return output


class InternVLForConditionalGeneration(VisionLanguageModel):
    """See `plugin.interfaces.LanguageModel` and `MultiModalModel`."""

    def __init__(self, config: JsonDict, build: BuildContext) -> None:
        layer = config["vision_feature_layer"]
        layers = (layer,) if isinstance(layer, int) else tuple(layer)
        # The last layer's is taken after the tower's norm, the others' before.
        tower = build.vision_encoder(config["vision_config"], () if layers == (-1,) else layers)
        super().__init__(config, build, tower)
        self._skip_first = config["vision_feature_select_strategy"] == "default"
        self._factor = round(1 / config["downsample_ratio"])
        self.multi_modal_projector = Projector(
            config, tower.hidden_size * self._factor**2, self.hidden_size
        )

    def encode_images(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]]
    ) -> Sequence[Tensor]:
        """[tiles, channels, side, side] of each -> [num_tokens, hidden_size]."""
        return [tiles.flatten(0, 1) for tiles in apply_batched(self._encode_tiles, images)]

    def _encode_tiles(self, tiles: Tensor) -> Tensor:
        """-> [tiles, num_tokens, hidden_size]."""
        features = encode_stacked(self.vision_tower, tiles)
        if self._skip_first:
            features = features[:, 1:]
        projected: Tensor = self.multi_modal_projector(pixel_shuffle(features, self._factor))
        return projected
