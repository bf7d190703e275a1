"""The layers of a vision transformer against the same in float64."""

from __future__ import annotations

import random

import pytest
import torch
from cpu_kernels.comparing import assert_near
from cpu_kernels.weights import KINDS, Kind, exact_linear, random_weight
from octavo.kernels.cpu.encoder import encoder
from octavo.kernels.weights import EncoderLayerWeights, EncoderWeights, LinearWeight
from torch import Tensor
from torch.nn import functional as F

pytestmark = pytest.mark.usefixtures("level")
EXACT = {
    "gelu": F.gelu,
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
}


def random_encoder(
    hidden: int, heads: int, activation: str, dtype: torch.dtype, kinds: list[tuple[Kind, Kind]]
) -> EncoderWeights:
    """kinds: of attention's weights and of the MLP's, layer by layer."""

    def norm() -> tuple[Tensor, Tensor]:
        return 1 + torch.randn(hidden) / 4, torch.randn(hidden) / 4

    def layer(attention: Kind, mlp: Kind) -> EncoderLayerWeights:
        square = [random_weight(attention, hidden, hidden, bias=True) for _ in range(4)]
        up = random_weight(mlp, 2 * hidden, hidden, bias=True)
        down = random_weight(mlp, hidden, 2 * hidden, bias=True)
        return EncoderLayerWeights(*square, up, down, norm(), norm())

    layers = [layer(*pair) for pair in kinds]
    return EncoderWeights(hidden, 2 * hidden, heads, activation, 1e-6, dtype, len(kinds), layers)


def exact_encoder(weights: EncoderWeights, x: Tensor, first: int, last: int) -> Tensor:
    def linear(x: Tensor, weight: LinearWeight) -> Tensor:
        return exact_linear(x.flatten(0, 1), weight).unflatten(0, x.shape[:2])

    def normed(x: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
        weight, bias = (part.double() for part in norm)
        return F.layer_norm(x, x.shape[-1:], weight, bias, weights.norm_eps)

    x = x.double()
    for layer in list(weights.layers)[first:last]:
        y = normed(x, layer.attention_norm)
        query, key, value = (
            linear(y, part).unflatten(2, (weights.num_heads, -1)).transpose(1, 2)
            for part in (layer.query, layer.key, layer.value)
        )
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + linear(attended, layer.output)
        y = EXACT[weights.activation](linear(normed(x, layer.mlp_norm), layer.up))
        x = x + linear(y, layer.down)
    return x


@pytest.mark.parametrize("activation", EXACT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_encoder(activation: str, dtype: torch.dtype) -> None:
    for hidden, heads in ((64, 4), (144, 2), (40, 5)):
        weights = random_encoder(
            hidden, heads, activation, dtype, [("float32", "float32"), ("bfloat16", "bfloat16")]
        )
        prepared = encoder(weights)
        assert prepared is not None
        for images, tokens in ((1, 70), (3, 17), (2, 1)):
            x = torch.randn(images, tokens, hidden).to(dtype)
            first = random.randrange(2)
            error = 2e-5 if dtype is torch.float32 else 2e-2
            assert_near(prepared(x, first, 2), exact_encoder(weights, x, first, 2), error)


@pytest.mark.parametrize("first", KINDS)
def test_every_layer_may_be_stored_in_its_own_way(first: Kind) -> None:
    others = [(a, b) for a in KINDS for b in KINDS if a != b]
    kinds = [(first, first), *random.sample(others, 4)]
    weights = random_encoder(64, 2, "gelu", torch.bfloat16, kinds)
    prepared = encoder(weights)
    assert prepared is not None
    x = torch.randn(2, 20, 64).bfloat16()
    assert_near(prepared(x, 0, 5), exact_encoder(weights, x, 0, 5), 3e-2)
