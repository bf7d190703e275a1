"""The tower of SigLIP: patches with learned positions, and no class token."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ....core.contracts import JsonDict
from ....core.interfaces import BuildContext
from ....core.layers.vision_transformer import VisionLayers, VisionTransformerConfig, keep_weight


class SiglipEmbeddings(nn.Module):
    """Patches with learned positions."""

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.patch_embedding = nn.Conv2d(config.num_channels, width, patch, patch)
        self.position_embedding = nn.Embedding(config.num_patches, width)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[n, channels, height, width] -> [n, num_patches, hidden_size]."""
        patches = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        embeddings: Tensor = patches + self.position_embedding.weight
        return embeddings


class SiglipVisionEncoder(nn.Module):
    """See `core.interfaces.VisionEncoder`."""

    def __init__(
        self, config: JsonDict, feature_layers: Sequence[int], build: BuildContext
    ) -> None:
        super().__init__()
        parsed = VisionTransformerConfig.from_dict(config)
        self.hidden_size = parsed.hidden_size * max(1, len(feature_layers))
        self.embeddings = SiglipEmbeddings(parsed)
        self.encoder = VisionLayers(parsed, feature_layers)
        if not feature_layers:
            self.post_layernorm = nn.LayerNorm(parsed.hidden_size, eps=parsed.layer_norm_eps)

    def map_weight(self, name: str) -> str | None:
        """Names are the checkpoint's; the pooling head and what is not used are left out."""
        return keep_weight(name, self)

    def forward(self, pixel_values: Tensor, layouts: Sequence[tuple[int, ...]] = ()) -> Tensor:
        """See `core.interfaces.VisionEncoder`."""
        features: Tensor = self.encoder(self.embeddings(pixel_values))
        return self.post_layernorm(features) if hasattr(self, "post_layernorm") else features
