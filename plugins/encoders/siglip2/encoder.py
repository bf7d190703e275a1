"""The tower of SigLIP 2 (Tschannen et al., 2025, arXiv:2502.14786), with positions resized."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

from torch import Tensor, nn
from torch.nn.functional import interpolate

from ....core.contracts.interfaces import BuildContext, WeightPlace
from ....core.contracts.specs import JsonDict
from ....core.layers.ragged import apply_batched
from ....core.layers.vision_transformer import VisionLayers, VisionTransformerConfig, keep_weight


class Siglip2Embeddings(nn.Module):
    """Patches, and the learned square of positions stretched over each image."""

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.patch_embedding = nn.Linear(config.num_channels * patch**2, width)
        self.position_embedding = nn.Embedding(config.num_patches, width)

    def forward(
        self, images: Sequence[Tensor], grids: Sequence[tuple[int, ...]]
    ) -> Sequence[Tensor]:
        """[num_patches, patch values] of each -> [num_patches, hidden_size]."""
        embedded = apply_batched(self.patch_embedding, images)
        return [x + self._positions(*grid) for x, grid in zip(embedded, grids, strict=True)]

    def _positions(self, rows: int, columns: int) -> Tensor:
        weight = self.position_embedding.weight
        side = isqrt(len(weight))
        square = weight.float().t().reshape(1, -1, side, side)
        resized = interpolate(square, (rows, columns), mode="bilinear", antialias=True)
        return resized.flatten(2)[0].t().to(weight.dtype)


class Siglip2VisionEncoder(nn.Module):
    """See `plugin.interfaces.VisionEncoder`."""

    def __init__(
        self, config: JsonDict, feature_layers: Sequence[int], build: BuildContext
    ) -> None:
        super().__init__()
        image_size = isqrt(config["num_patches"]) * config["patch_size"]
        parsed = VisionTransformerConfig.from_dict({**config, "image_size": image_size})
        self.hidden_size = parsed.hidden_size * max(1, len(feature_layers))
        self.embeddings = Siglip2Embeddings(parsed)
        self.encoder = VisionLayers(parsed, feature_layers, build.kernels)
        if not feature_layers:
            self.post_layernorm = nn.LayerNorm(parsed.hidden_size, eps=parsed.layer_norm_eps)

    def map_weight(self, name: str) -> WeightPlace:
        """Names are the checkpoint's; the pooling head and what is not used are left out."""
        return keep_weight(name, self)

    def forward(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]] = ()
    ) -> Sequence[Tensor]:
        """See `plugin.interfaces.VisionEncoder`."""
        features: list[Tensor] = self.encoder(self.embeddings(images, layouts))
        if not hasattr(self, "post_layernorm"):
            return features
        return apply_batched(self.post_layernorm, features)
