"""InternViT (Chen et al., 2023, arXiv:2312.14238): a transformer whose blocks are scaled."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ....core.contracts.interfaces import BuildContext, WeightPlace
from ....core.contracts.specs import JsonDict
from ....core.layers.encoder_stack import EncoderStack, Rotary, layer_weights
from ....core.layers.known_modules import is_known
from ....core.layers.mlp import MLP
from ....core.layers.norm import RMSNorm
from ....core.layers.patches import PatchEmbedding
from ....core.layers.ragged import attend_within
from ....kernels.dispatch import KernelTable
from ....kernels.weights import EncoderLayerWeights, EncoderShape

_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")


class Embeddings(nn.Module):
    """Patches and the class token, with learned positions."""

    def __init__(self, config: JsonDict) -> None:
        super().__init__()
        width, patch = config["hidden_size"], config["patch_size"]
        num_patches = (config["image_size"][0] // patch[0]) * (config["image_size"][1] // patch[1])
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.position_embeddings = nn.Parameter(torch.empty(1, num_patches + 1, width))
        projection = PatchEmbedding(config["num_channels"], width, (patch[0], patch[1]))
        self.patch_embeddings = nn.ModuleDict({"projection": projection})

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[n, channels, height, width] -> [n, 1 + num_patches, hidden_size]."""
        patches = self.patch_embeddings["projection"](pixel_values).flatten(1, 2)
        first = self.cls_token.expand(len(patches), -1, -1)
        return torch.cat((first, patches), dim=1) + self.position_embeddings


class Attention(nn.Module):
    """Full self-attention; queries and keys may be normalised over all heads together."""

    def __init__(self, config: JsonDict, kernels: KernelTable) -> None:
        super().__init__()
        width, bias = config["hidden_size"], config["attention_bias"]
        self.q_proj = nn.Linear(width, width, bias=bias)
        self.k_proj = nn.Linear(width, width, bias=bias)
        self.v_proj = nn.Linear(width, width, bias=bias)
        self.projection_layer = nn.Linear(width, width)
        self.q_norm, self.k_norm = (
            RMSNorm(width, 1e-6, kernels) if config["use_qk_norm"] else nn.Identity()
            for _ in range(2)
        )
        self._num_heads: int = config["num_attention_heads"]

    def forward(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """[num_tokens, hidden_size] in and out; lengths: see `EncoderStack.run`."""
        parts = (self.q_norm(self.q_proj(x)), self.k_norm(self.k_proj(x)), self.v_proj(x))
        query, key, value = (part.unflatten(1, (self._num_heads, -1)) for part in parts)
        attended = attend_within(query, key, value, lengths).flatten(1)
        projected: Tensor = self.projection_layer(attended)
        return projected


class Layer(nn.Module):
    """One pre-norm block, each part scaled by a learned vector before it is added."""

    def __init__(self, config: JsonDict, kernels: KernelTable) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.layernorm_before, self.layernorm_after = (_norm(config, kernels) for _ in range(2))
        self.attention = Attention(config, kernels)
        self.mlp = MLP(width, config["intermediate_size"], config["hidden_act"])
        self.lambda_1, self.lambda_2 = (nn.Parameter(torch.empty(width)) for _ in range(2))

    def forward(self, x: Tensor, lengths: Sequence[int], rotary: Rotary | None) -> Tensor:
        """See `EncoderLayer`."""
        x = x + self.lambda_1 * self.attention(self.layernorm_before(x), lengths)
        output: Tensor = x + self.lambda_2 * self.mlp(self.layernorm_after(x))
        return output

    def weights(self) -> EncoderLayerWeights | None:
        """See `EncoderLayer`. No kernel normalises queries and keys over all heads."""
        attention = self.attention
        plain = is_known(attention, Attention) and is_known(attention.q_norm, nn.Identity)
        if not plain:
            return None
        return layer_weights(
            (attention.q_proj, attention.k_proj, attention.v_proj, attention.projection_layer),
            self.mlp,
            (self.layernorm_before, self.layernorm_after),
            (self.lambda_1.detach(), self.lambda_2.detach()),
        )


class Layers(nn.Module):
    """The blocks that are needed."""

    def __init__(self, config: JsonDict, count: int, kernels: KernelTable) -> None:
        super().__init__()
        shape = EncoderShape(
            config["hidden_size"],
            config["intermediate_size"],
            config["num_attention_heads"],
            config["hidden_act"],
            config["layer_norm_eps"],
            rms_norm=config["norm_type"] == "rms_norm",
        )
        self.layer = EncoderStack((Layer(config, kernels) for _ in range(count)), shape, kernels)


class InternVisionEncoder(nn.Module):
    """See `plugin.interfaces.VisionEncoder`. The class token is the first feature."""

    def __init__(
        self, config: JsonDict, feature_layers: Sequence[int], build: BuildContext
    ) -> None:
        super().__init__()
        if not config["use_absolute_position_embeddings"]:
            raise ValueError("vision_config: use_absolute_position_embeddings must be true")
        num_states = config["num_hidden_layers"] + 1
        self._feature_layers = [layer % num_states for layer in feature_layers or (-1,)]
        self.hidden_size: int = config["hidden_size"] * len(self._feature_layers)
        self.embeddings = Embeddings(config)
        self.encoder = Layers(config, max(self._feature_layers), build.kernels)
        if not feature_layers and not config["use_mean_pooling"]:
            self.layernorm = nn.LayerNorm(config["hidden_size"], eps=config["layer_norm_eps"])

    def map_weight(self, name: str) -> WeightPlace:
        """Names are the checkpoint's; what is not used is left out."""
        layer = _LAYER.match(name)
        unused = layer is not None and int(layer[1]) >= max(self._feature_layers)
        if unused or name == "embeddings.mask_token":
            return None
        return None if name.startswith("layernorm.") and not hasattr(self, "layernorm") else name

    def forward(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]] = ()
    ) -> Sequence[Tensor]:
        """See `plugin.interfaces.VisionEncoder`."""
        embedded = self.embeddings(torch.stack(tuple(images)))
        lengths = [embedded.shape[1]] * len(embedded)
        features = self.encoder.layer.features(
            embedded.flatten(0, 1), lengths, self._feature_layers
        )
        if hasattr(self, "layernorm"):
            features = self.layernorm(features)
        return torch.split(features, lengths)


def _norm(config: JsonDict, kernels: KernelTable) -> nn.Module:
    width, eps = config["hidden_size"], config["layer_norm_eps"]
    if config["norm_type"] == "rms_norm":
        return RMSNorm(width, eps, kernels)
    return nn.LayerNorm(width, eps=eps)
