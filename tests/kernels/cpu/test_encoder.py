"""The layers of a vision transformer against the same in float64."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch
from cpu_kernels.comparing import assert_near
from cpu_kernels.encoders import random_encoder
from cpu_kernels.weights import KINDS, UNKNOWN, Kind, exact_linear
from octavo.kernels.cpu.encoder import CpuEncoder, encoder
from octavo.kernels.weights import (
    EncoderLayerWeights,
    EncoderShape,
    EncoderWeights,
    LinearWeight,
)
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
    """Runs of tokens of any lengths at once, some of none."""
    for hidden, heads in ((64, 4), (144, 2), (40, 5)):
        weights = random_encoder(
            hidden, heads, activation, dtype, [("float32", "float32"), ("bfloat16", "bfloat16")]
        )
        prepared = encoder(weights)
        assert prepared is not None
        for lengths in ([70], [17, 17, 17], [1, 1], [33, 1, 130, 8], [0, 5, 0, 0, 9, 0]):
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


#: Activations that multiply x with the sigmoid of this.
SIGMOID_OF = {
    "silu": lambda x: x,
    "gelu_pytorch_tanh": lambda x: math.sqrt(8 / math.pi) * (x + 0.044715 * x**3),
    "quick_gelu": lambda x: 1.702 * x,
}


def activated(activation: str, values: Tensor) -> Tensor:
    """float32 [layers, width] -> bfloat16, what the layers of an encoder make of them: their MLPs
    get them as biases and hand them on as they are."""
    layers, width = values.shape
    nothing, identity = torch.zeros(width, width), torch.eye(width)
    attention = (LinearWeight(torch.zeros(3 * width, width)),), LinearWeight(nothing)
    norms = (torch.ones(width), None), (torch.ones(width), None)
    made = [
        EncoderLayerWeights(*attention, LinearWeight(nothing, row), LinearWeight(identity), *norms)
        for row in values
    ]
    storages = [together for layer in made for together in layer.storages()]
    shape = EncoderShape(width, width, 1, activation, 1e-6, rms_norm=True)
    prepared = CpuEncoder(EncoderWeights(shape, torch.bfloat16, layers, storages, made))
    x = torch.zeros(1, width, dtype=torch.bfloat16)
    return torch.cat([prepared(x, [1], i, i + 1) for i in range(layers)])


@pytest.mark.parametrize("activation", SIGMOID_OF)
def test_activations_of_any_size(activation: str) -> None:
    """Off by 2e-4 at most before they are rounded to bfloat16: so many values lie near the middle
    between two of its numbers that a larger error would show."""
    size = 10 ** torch.empty(8, 128).uniform_(-6, 2)
    values = torch.cat((torch.empty(120, 128).uniform_(-20, 5), size, -size))
    values[0, :6] = torch.tensor([-1e30, -1e14, -1e9, 1e9, 1e14, 1e30])
    exact = values.double() * torch.sigmoid(SIGMOID_OF[activation](values.double()))
    # Sigmoids that would be smaller than the smallest normal number are as large or zero.
    error = exact.abs() * 2e-4 + values.abs() * 2**-126
    actual = activated(activation, values)
    assert ((exact - error).bfloat16() <= actual).all()
    assert (actual <= (exact + error).bfloat16()).all()


@pytest.mark.parametrize("activation", SIGMOID_OF)
def test_an_activation_of_what_is_not_a_number(activation: str) -> None:
    values = torch.randn(2, 32)
    values[1, 5] = torch.nan
    assert activated(activation, values).isnan().all(dim=1).tolist() == [False, True]


def test_lengths_and_tables_that_do_not_fit() -> None:
    prepared = CpuEncoder(random_encoder(40, 5, "gelu", torch.float32, [("float32", "float32")]))
    x, table, narrow = torch.randn(9, 40), torch.randn(9, 8), torch.randn(9, 4)
    for lengths in ([], [8], [5, 5]):
        with pytest.raises(ValueError, match=f"lengths: runs of {sum(lengths)} tokens in all"):
            prepared(x, lengths, 0, 1)
    with pytest.raises(ValueError, match="lengths: a run of -1 tokens"):
        prepared(x, [10, -1], 0, 1)
    with pytest.raises(ValueError, match=r"rotary: cos is \[8, 8\] instead of \[9, 8\]"):
        prepared(x, [9], 0, 1, (table[1:], table))
    with pytest.raises(ValueError, match=r"rotary: sin is \[9, 4\] instead of \[9, 8\]"):
        prepared(x, [9], 0, 1, (table, narrow))
    assert prepared(x[:0], [0, 0], 0, 1).shape == (0, 40)


def test_weights_that_can_not_be_packed_are_left_alone() -> None:
    known = random_encoder(32, 2, "gelu", torch.float32, [("float32", "float32")])
    layers = iter(known.layers)
    for together in UNKNOWN:
        storages = [*known.storages, together]
        assert encoder(replace(known, storages=storages, layers=layers)) is None
    assert len(list(layers)) == known.num_layers
