"""Random weights of vision transformers of every family."""

from __future__ import annotations

import torch
from cpu_kernels.weights import Kind, random_weight
from octavo.kernels.weights import EncoderLayerWeights, EncoderShape, EncoderWeights
from torch import Tensor


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
    storages = [together for each in layers for together in each.storages()]
    return EncoderWeights(shape, dtype, len(kinds), storages, layers)
