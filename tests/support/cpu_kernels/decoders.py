"""Decoders with random weights, of families that differ in everything a kernel knows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from cpu_kernels.batches import Shape
from cpu_kernels.weights import Kind, random_weight
from octavo.kernels.weights import DecoderLayerWeights, DecoderWeights, LinearWeight
from torch import Tensor


@dataclass(frozen=True)
class Family:
    """What differs between decoders. kinds: of attention's weights and of the MLP's, layer by
    layer."""

    shape: Shape
    hidden: int
    intermediate: int
    kinds: tuple[tuple[Kind, Kind], ...]
    activation: str = "silu"
    softcap: float = 0.0
    windows: tuple[int, ...] = (0,)
    extra_norms: bool = False
    bias: bool = False
    rotary: int = 0


PLAIN = Family(Shape(4, 2, 16, 16), 64, 128, (("float32", "float32"), ("bfloat16", "bfloat16")))


def random_layer(family: Family, index: int) -> DecoderLayerWeights:
    shape, hidden = family.shape, family.hidden
    attention, mlp = family.kinds[index]
    # Groups of four-bit weights must be whole.
    width = shape.heads * shape.dim
    output = attention if attention != "int4" or width % 64 == 0 else "int8"

    def norm(size: int, present: bool = True) -> Tensor | None:
        return 1 + torch.randn(size) / 4 if present else None

    def linear(kind: Kind, n: int, k: int) -> LinearWeight:
        return random_weight(kind, n, k, bias=family.bias)

    input_norm, mlp_input_norm = norm(hidden), norm(hidden)
    assert input_norm is not None
    assert mlp_input_norm is not None
    return DecoderLayerWeights(
        query=linear(attention, width, hidden),
        key=linear(attention, shape.kv_heads * shape.dim, hidden),
        value=linear(attention, shape.kv_heads * shape.dim, hidden),
        output=linear(output, hidden, width),
        gate=linear(mlp, family.intermediate, hidden),
        up=linear(mlp, family.intermediate, hidden),
        down=linear(mlp, hidden, family.intermediate),
        input_norm=input_norm,
        mlp_input_norm=mlp_input_norm,
        attention_norm=norm(hidden, family.extra_norms),
        mlp_norm=norm(hidden, family.extra_norms),
        query_norm=norm(shape.dim, family.extra_norms),
        key_norm=norm(shape.dim, family.extra_norms),
        window=family.windows[index % len(family.windows)],
        rope=index % 2,
    )


def random_decoder(family: Family, dtype: torch.dtype) -> DecoderWeights:
    layers = [random_layer(family, i) for i in range(len(family.kinds))]
    return DecoderWeights(
        hidden_size=family.hidden,
        intermediate_size=family.intermediate,
        num_heads=family.shape.heads,
        num_kv_heads=family.shape.kv_heads,
        head_dim=family.shape.dim,
        activation=family.activation,
        norm_eps=1e-5,
        scale=family.shape.dim**-0.5,
        softcap=family.softcap,
        dtype=dtype,
        final_norm=torch.randn(family.hidden),
        num_layers=len(family.kinds),
        storages=[together for layer in layers for together in layer.storages()],
        layers=layers,
    )
