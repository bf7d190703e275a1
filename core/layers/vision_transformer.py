"""The transformer that CLIP's and SigLIP's towers share (Dosovitskiy et al., arXiv:2010.11929)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ...kernels.dispatch import KernelTable
from ...kernels.weights import EncoderLayerWeights, EncoderShape
from ..contracts.specs import JsonDict
from .encoder_stack import EncoderStack, Rotary, layer_weights
from .known_modules import is_known
from .mlp import MLP
from .ragged import apply_batched, attend_within

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

    def forward(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """[num_tokens, hidden_size] in and out; lengths: see `EncoderStack.run`."""
        query, key, value = (
            projection(x).unflatten(1, (self._num_heads, -1))
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        projected: Tensor = self.out_proj(attend_within(query, key, value, lengths).flatten(1))
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

    def forward(self, x: Tensor, lengths: Sequence[int], rotary: Rotary | None) -> Tensor:
        """See `EncoderLayer`."""
        x = x + self.self_attn(self.layer_norm1(x), lengths)
        output: Tensor = x + self.mlp(self.layer_norm2(x))
        return output

    def weights(self) -> EncoderLayerWeights | None:
        """See `EncoderLayer`."""
        attention = self.self_attn
        if not is_known(attention, VisionAttention):
            return None
        projections = (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
        return layer_weights(projections, self.mlp, (self.layer_norm1, self.layer_norm2))


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
        self.layers = EncoderStack(
            (VisionLayer(config) for _ in range(max(self._feature_layers))),
            EncoderShape(
                config.hidden_size,
                config.intermediate_size,
                config.num_attention_heads,
                config.hidden_act,
                config.layer_norm_eps,
            ),
            kernels,
        )

    def forward(self, images: Sequence[Tensor]) -> list[Tensor]:
        """[num_tokens, hidden_size] of each -> [num_tokens, hidden_size * number of feature
        layers]."""
        lengths = [len(image) for image in images]
        return apply_batched(
            lambda x: self.layers.features(x, lengths, self._feature_layers), images
        )


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
