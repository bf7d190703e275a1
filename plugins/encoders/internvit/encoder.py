"""InternViT (Chen et al., 2023, arXiv:2312.14238): a transformer whose blocks are scaled."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ....core.contracts import JsonDict
from ....core.interfaces import BuildContext, WeightPlace
from ....core.layers.mlp import MLP
from ....core.layers.norm import RMSNorm
from ....kernels.dispatch import KernelTable

_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")


class Embeddings(nn.Module):
    """Patches and the class token, with learned positions."""

    def __init__(self, config: JsonDict) -> None:
        super().__init__()
        width, patch = config["hidden_size"], config["patch_size"]
        num_patches = (config["image_size"][0] // patch[0]) * (config["image_size"][1] // patch[1])
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.position_embeddings = nn.Parameter(torch.empty(1, num_patches + 1, width))
        projection = nn.Conv2d(config["num_channels"], width, tuple(patch), tuple(patch))
        self.patch_embeddings = nn.ModuleDict({"projection": projection})

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[n, channels, height, width] -> [n, 1 + num_patches, hidden_size]."""
        patches = self.patch_embeddings["projection"](pixel_values).flatten(2).transpose(1, 2)
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

    def forward(self, x: Tensor) -> Tensor:
        """[n, num_tokens, hidden_size] in and out."""
        heads = (*x.shape[:2], self._num_heads, -1)
        query = self.q_norm(self.q_proj(x)).view(heads).transpose(1, 2)
        key = self.k_norm(self.k_proj(x)).view(heads).transpose(1, 2)
        value = self.v_proj(x).view(heads).transpose(1, 2)
        attended = scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.projection_layer(attended.transpose(1, 2).flatten(2))
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

    def forward(self, x: Tensor) -> Tensor:
        """[n, num_tokens, hidden_size] in and out."""
        x = x + self.lambda_1 * self.attention(self.layernorm_before(x))
        output: Tensor = x + self.lambda_2 * self.mlp(self.layernorm_after(x))
        return output


class Layers(nn.Module):
    """The blocks that are needed."""

    def __init__(self, config: JsonDict, count: int, kernels: KernelTable) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config, kernels) for _ in range(count))

    def forward(self, x: Tensor) -> list[Tensor]:
        """[n, num_tokens, hidden_size], before the first and after each."""
        states = [x]
        for layer in self.layer:
            states.append(layer(states[-1]))
        return states


class InternVisionEncoder(nn.Module):
    """See `core.interfaces.VisionEncoder`. The class token is the first feature."""

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

    def forward(self, pixel_values: Tensor, layouts: Sequence[tuple[int, ...]] = ()) -> Tensor:
        """See `core.interfaces.VisionEncoder`."""
        states = self.encoder(self.embeddings(pixel_values))
        features = torch.cat([states[index] for index in self._feature_layers], dim=-1)
        return self.layernorm(features) if hasattr(self, "layernorm") else features


def _norm(config: JsonDict, kernels: KernelTable) -> nn.Module:
    width, eps = config["hidden_size"], config["layer_norm_eps"]
    if config["norm_type"] == "rms_norm":
        return RMSNorm(width, eps, kernels)
    return nn.LayerNorm(width, eps=eps)
