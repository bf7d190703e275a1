"""The layers of a vision transformer against the same in float64."""

from __future__ import annotations

import random

import pytest
import torch
from cpu_kernels.comparing import assert_near
from cpu_kernels.weights import KINDS, Kind, exact_linear, random_weight
from octavo.kernels.cpu.encoder import encoder
from octavo.kernels.weights import EncoderLayerWeights, EncoderShape, EncoderWeights
from torch import Tensor
from torch.nn import functional as F

pytestmark = pytest.mark.usefixtures("level")
EXACT = {
    "gelu": F.gelu,
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "silu": F.silu,
}


def random_encoder(
    hidden: int,
    heads: int,
    activation: str,
    dtype: torch.dtype,
    kinds: list[tuple[Kind, Kind]],
    *,
    generation: int = 1,
) -> EncoderWeights:
    """kinds: of attention's weights and of the MLP's, layer by layer. generation: 1 is a plain
    block, 2 scales its branches, 3 has RMS norms, a gate and one layer for queries, keys and
    values."""
    intermediate = 2 * hidden + 8 * (hidden % 64 > 0)  # int4 comes in groups of 64

    def norm() -> tuple[Tensor, Tensor | None]:
        bias = None if generation == 3 else torch.randn(hidden) / 4
        return 1 + torch.randn(hidden) / 4, bias

    def layer(attention: Kind, mlp: Kind) -> EncoderLayerWeights:
        widths = [3 * hidden] if generation == 3 else [hidden] * 3
        scales = [torch.randn(hidden) if generation == 2 else None for _ in range(2)]
        return EncoderLayerWeights(
            tuple(random_weight(attention, width, hidden, bias=True) for width in widths),
            random_weight(attention, hidden, hidden, bias=True),
            random_weight(mlp, intermediate, hidden, bias=True),
            random_weight(mlp, hidden, intermediate, bias=True),
            norm(),
            norm(),
            random_weight(mlp, intermediate, hidden, bias=True) if generation == 3 else None,
            *scales,
        )

    layers = [layer(*pair) for pair in kinds]
    shape = EncoderShape(hidden, intermediate, heads, activation, 1e-6, generation == 3)
    return EncoderWeights(shape, dtype, len(kinds), layers)


def exact_encoder(
    weights: EncoderWeights,
    x: Tensor,
    lengths: list[int],
    first: int,
    last: int,
    rotary: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    def normed(x: Tensor, norm: tuple[Tensor, Tensor | None]) -> Tensor:
        weight, bias = norm
        if bias is None:
            return F.rms_norm(x, x.shape[-1:], weight.double(), weights.shape.norm_eps)
        return F.layer_norm(x, x.shape[-1:], weight.double(), bias.double(), weights.shape.norm_eps)

    def turned(x: Tensor) -> Tensor:
        if rotary is None:
            return x
        cos, sin = (table.double()[:, None] for table in rotary)
        left, right = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-right, left), dim=-1) * sin

    def attend(y: Tensor, layer: EncoderLayerWeights) -> Tensor:
        qkv = torch.cat([exact_linear(y, part) for part in layer.qkv], dim=1)
        query, key, value = qkv.unflatten(1, (3, weights.shape.num_heads, -1)).unbind(1)
        runs = zip(*(t.split(lengths) for t in (turned(query), turned(key), value)), strict=True)
        attended = [
            F.scaled_dot_product_attention(*(t.transpose(0, 1) for t in run)).transpose(0, 1)
            for run in runs
        ]
        return exact_linear(torch.cat(attended).flatten(1), layer.output)

    def feed_forward(y: Tensor, layer: EncoderLayerWeights) -> Tensor:
        activate, up = EXACT[weights.shape.activation], exact_linear(y, layer.up)
        raised = activate(up) if layer.gate is None else activate(exact_linear(y, layer.gate)) * up
        return exact_linear(raised, layer.down)

    x = x.double()
    for layer in list(weights.layers)[first:last]:
        branch = attend(normed(x, layer.attention_norm), layer)
        x = x + branch * (1 if layer.attention_scale is None else layer.attention_scale.double())
        branch = feed_forward(normed(x, layer.mlp_norm), layer)
        x = x + branch * (1 if layer.mlp_scale is None else layer.mlp_scale.double())
    return x


@pytest.mark.parametrize("activation", EXACT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_encoder(activation: str, dtype: torch.dtype) -> None:
    """Runs of tokens of any lengths at once."""
    for hidden, heads in ((64, 4), (144, 2), (40, 5)):
        weights = random_encoder(
            hidden, heads, activation, dtype, [("float32", "float32"), ("bfloat16", "bfloat16")]
        )
        prepared = encoder(weights)
        assert prepared is not None
        for lengths in ([70], [17, 17, 17], [1, 1], [33, 1, 130, 8]):
            x = torch.randn(sum(lengths), hidden).to(dtype)
            first = random.randrange(2)
            error = 2e-5 if dtype is torch.float32 else 2e-2
            exact = exact_encoder(weights, x, lengths, first, 2)
            assert_near(prepared(x, lengths, first, 2), exact, error)


@pytest.mark.parametrize("generation", [1, 2, 3])
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_other_families(generation: int, kind: Kind) -> None:
    """Rotated, scaled, gated, with RMS norms; windows in one call, whole images in the next."""
    for hidden, heads in ((64, 2), (80, 1), (72, 3)):
        dtype = torch.float32 if kind == "float32" else torch.bfloat16
        weights = random_encoder(
            hidden, heads, "silu", dtype, [(kind, kind)] * 2, generation=generation
        )
        prepared = encoder(weights)
        assert prepared is not None
        angles = torch.randn(60, hidden // heads // 2).repeat(1, 2)
        rotary = (angles.cos(), angles.sin())
        x = torch.randn(60, hidden).to(dtype)
        once = prepared(x, [16, 4, 25, 15], 0, 1, rotary)
        exact = exact_encoder(weights, x, [16, 4, 25, 15], 0, 1, rotary)
        assert_near(once, exact, 2e-5 if kind == "float32" else 3e-2)
        twice = prepared(once, [20, 40], 1, 2, rotary)
        exact = exact_encoder(weights, once, [20, 40], 1, 2, rotary)
        assert_near(twice, exact, 2e-5 if kind == "float32" else 3e-2)


@pytest.mark.parametrize("first", KINDS)
def test_every_layer_may_be_stored_in_its_own_way(first: Kind) -> None:
    others = [(a, b) for a in KINDS for b in KINDS if a != b]
    kinds = [(first, first), *random.sample(others, 4)]
    weights = random_encoder(64, 2, "gelu", torch.bfloat16, kinds)
    prepared = encoder(weights)
    assert prepared is not None
    x = torch.randn(40, 64).bfloat16()
    exact = exact_encoder(weights, x, [15, 25], 0, 5)
    assert_near(prepared(x, [15, 25], 0, 5), exact, 3e-2)
