"""The transformer that CLIP's and SigLIP's towers share (Dosovitskiy et al., arXiv:2010.11929)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ...kernels.dispatch import KernelTable
from ...kernels.weights import PreparedEncoder
from ..contracts import JsonDict
from .mlp import MLP
from .prepared_encoder import prepare_encoder

_LAYER_NAME = re.compile(r"encoder\.layers\.(\d+)\.")
_POOLING_WEIGHTS = ("head.", "embeddings.position_ids")


@dataclass(frozen=True)
class VisionTransformerConfig:
    """The sizes of a tower, read from a `vision_config`."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_channels: int
    image_size: int
    patch_size: int
    hidden_act: str
    layer_norm_eps: float

    @classmethod
    def from_dict(cls, config: JsonDict) -> VisionTransformerConfig:
        """Raises KeyError for a field that is missing."""
        return cls(**{name: config[name] for name in cls.__dataclass_fields__})

    @property
    def num_patches(self) -> int:
        """Patches of one image of the tower's size."""
        return (self.image_size // self.patch_size) ** 2


class VisionAttention(nn.Module):
    """Full self-attention within each image."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(hidden_size, hidden_size)
        self.k_proj = nn.Linear(hidden_size, hidden_size)
        self.v_proj = nn.Linear(hidden_size, hidden_size)
        self.out_proj = nn.Linear(hidden_size, hidden_size)
        self._num_heads = num_heads

    def forward(self, x: Tensor) -> Tensor:
        """[num_images, num_tokens, hidden_size] in and out."""
        heads = (x.shape[0], x.shape[1], self._num_heads, -1)
        query, key, value = (
            projection(x).view(heads).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return projected


class VisionLayer(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.layer_norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.self_attn = VisionAttention(width, config.num_attention_heads)
        self.layer_norm2 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = MLP(width, config.intermediate_size, config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """[num_images, num_tokens, hidden_size] in and out."""
        x = x + self.self_attn(self.layer_norm1(x))
        output: Tensor = x + self.mlp(self.layer_norm2(x))
        return output


class VisionLayers(nn.Module):
    """The blocks up to the last one that a requested feature needs; the rest are not built.

    feature_layers index the sequence (embeddings, after block 1, …, after the last block), as
    `hidden_states` does in transformers; negative ones count from its end; none is the last.
    """

    def __init__(
        self,
        config: VisionTransformerConfig,
        feature_layers: Sequence[int],
        kernels: KernelTable,
    ) -> None:
        super().__init__()
        num_states = config.num_hidden_layers + 1
        if any(not -num_states <= layer < num_states for layer in feature_layers):
            raise ValueError(
                f"vision_feature_layer {list(feature_layers)} is out of range for a tower of "
                f"{config.num_hidden_layers} layers"
            )
        self._feature_layers = [layer % num_states for layer in feature_layers or (-1,)]
        self._config = config
        self._kernels = kernels
        self._prepared: PreparedEncoder | None = None
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(max(self._feature_layers)))

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, hidden_size] -> [n, tokens, hidden_size * number of feature layers]."""
        states = {0: x}
        done = 0
        for index in sorted(set(self._feature_layers)):
            states[index] = x = self._run(x, done, index)
            done = index
        return torch.cat([states[index] for index in self._feature_layers], dim=-1)

    def prepare(self) -> None:
        """See `core.interfaces.Preparable`. What is prepared takes the layers' place in
        `state_dict`."""
        self._prepared = prepare_encoder(self.layers, self._config, self._kernels)
        if self._prepared is not None:
            for i, tensor in enumerate(self._prepared.tensors()):
                self.register_buffer(f"prepared_{i}", tensor)

    def _run(self, x: Tensor, first: int, last: int) -> Tensor:
        if self._prepared is not None:
            return self._prepared(x, first, last)
        for layer in self.layers[first:last]:
            x = layer(x)
        return x


def keep_weight(name: str, encoder: nn.Module) -> str | None:
    """A tower's `map_weight`: drop what only pooling or parts that were not built would use."""
    if name.startswith(_POOLING_WEIGHTS):
        return None
    if name.startswith("post_layernorm.") and not hasattr(encoder, "post_layernorm"):
        return None
    layer = _LAYER_NAME.match(name)
    if layer and f"encoder.layers.{layer[1]}" not in dict(encoder.named_modules()):
        return None
    return name
