"""The tower of CLIP: a class token before the patches, and a norm before the blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ....core.contracts.interfaces import BuildContext
from ....core.contracts.specs import JsonDict
from ....core.layers.patches import PatchEmbedding
from ....core.layers.vision_transformer import VisionLayers, VisionTransformerConfig, keep_weight


class CLIPEmbeddings(nn.Module):
    """Patches and the class token, with learned positions."""

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = PatchEmbedding(
            config.num_channels, width, (patch, patch), bias=False
        )
        self.position_embedding = nn.Embedding(config.num_patches + 1, width)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[n, channels, height, width] -> [n, 1 + num_patches, hidden_size]."""
        patches = self.patch_embedding(pixel_values).flatten(1, 2)
        first = self.class_embedding.expand(patches.shape[0], 1, -1)
        embeddings: Tensor = torch.cat((first, patches), dim=1) + self.position_embedding.weight
        return embeddings


class CLIPVisionEncoder(nn.Module):
    """See `plugin.interfaces.VisionEncoder`. The class token is the first feature."""

    def __init__(
        self, config: JsonDict, feature_layers: Sequence[int], build: BuildContext
    ) -> None:
        super().__init__()
        parsed = VisionTransformerConfig.from_dict(config)
        self.hidden_size = parsed.hidden_size * max(1, len(feature_layers))
        self.embeddings = CLIPEmbeddings(parsed)
        # The checkpoints' own spelling.
        self.pre_layrnorm = nn.LayerNorm(parsed.hidden_size, eps=parsed.layer_norm_eps)
        self.encoder = VisionLayers(parsed, feature_layers, build.kernels)

    def map_weight(self, name: str) -> str | None:
        """Names are the checkpoint's; the pooling norm and unused blocks are left out."""
        return keep_weight(name, self)

    def forward(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]] = ()
    ) -> Sequence[Tensor]:
        """See `plugin.interfaces.VisionEncoder`."""
        features: Sequence[Tensor] = self.encoder(
            self.pre_layrnorm(self.embeddings(torch.stack(tuple(images))))
        )
        return features
