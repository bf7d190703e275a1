"""The tower of SigLIP: patches with learned positions, and no class token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ....core.contracts.interfaces import BuildContext
from ....core.contracts.specs import JsonDict
from ....core.layers.patches import PatchEmbedding
from ....core.layers.ragged import apply_batched
from ....core.layers.vision_transformer import VisionLayers, VisionTransformerConfig, keep_weight


class SiglipEmbeddings(nn.Module):
    """Patches with learned positions."""

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.patch_embedding = PatchEmbedding(config.num_channels, width, (patch, patch))
        self.position_embedding = nn.Embedding(config.num_patches, width)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[n, channels, height, width] -> [n, num_patches, hidden_size]."""
        patches = self.patch_embedding(pixel_values).flatten(1, 2)
        embeddings: Tensor = patches + self.position_embedding.weight
        return embeddings


class FractionalEmbeddings(SiglipEmbeddings):
    """A patch has the position that lies as far across the square the tower was made for, so that
    squares of any size may be given (Dehghani et al., 2023, arXiv:2307.06304)."""

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__(config)
        self._positions_per_side = config.image_size // config.patch_size

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[n, channels, side, side] -> [n, num_patches, hidden_size]."""
        patches = self.patch_embedding(pixel_values)
        row = self._nearest(patches.shape[1], patches.device)
        column = self._nearest(patches.shape[2], patches.device)
        positions = (row[:, None] * self._positions_per_side + column).flatten()
        embeddings: Tensor = patches.flatten(1, 2) + self.position_embedding(positions)
        return embeddings

    def _nearest(self, count: int, device: torch.device) -> Tensor:
        # In float32 and by buckets, as the rounding decides which position some patches get.
        step = 1 / self._positions_per_side
        boundaries = torch.arange(step, 1.0, step, device=device)
        places = torch.arange(count, dtype=torch.float32, device=device)
        places = places * (1.0 / torch.tensor(count, device=device))
        return torch.bucketize(places.clamp(max=1.0 - 1e-6), boundaries, right=True)


class SiglipVisionEncoder(nn.Module):
    """See `plugin.interfaces.VisionEncoder`."""

    embeddings_class = SiglipEmbeddings

    def __init__(
        self, config: JsonDict, feature_layers: Sequence[int], build: BuildContext
    ) -> None:
        super().__init__()
        parsed = VisionTransformerConfig.from_dict(config)
        self.hidden_size = parsed.hidden_size * max(1, len(feature_layers))
        self.embeddings = self.embeddings_class(parsed)
        self.encoder = VisionLayers(parsed, feature_layers, build.kernels)
        if not feature_layers:
            self.post_layernorm = nn.LayerNorm(parsed.hidden_size, eps=parsed.layer_norm_eps)

    def map_weight(self, name: str) -> str | None:
        """Names are the checkpoint's; the pooling head and what is not used are left out."""
        return keep_weight(name, self)

    def forward(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]] = ()
    ) -> Sequence[Tensor]:
        """See `plugin.interfaces.VisionEncoder`."""
        features: list[Tensor] = self.encoder(self.embeddings(torch.stack(tuple(images))))
        if not hasattr(self, "post_layernorm"):
            return features
        return apply_batched(self.post_layernorm, features)


class FractionalSiglipEncoder(SiglipVisionEncoder):
    """The tower of Idefics3 and SmolVLM."""

    embeddings_class = FractionalEmbeddings
