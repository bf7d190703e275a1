"""Patches of images: what makes vectors of them, and what joins neighbours."""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class PatchEmbedding(nn.Module):
    """The first layer of vision transformers (Dosovitskiy et al., 2021, arXiv:2010.11929): each
    patch of an image to a vector. The weight is a convolution's whose stride is its kernel, as
    checkpoints hold it; it is computed as a product of matrices, which on CPUs takes half the time
    of torch's convolution in bfloat16."""

    def __init__(
        self, num_channels: int, width: int, patch: tuple[int, int], *, bias: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, num_channels, *patch))
        self.bias = nn.Parameter(torch.empty(width)) if bias else None

    def forward(self, pixels: Tensor) -> Tensor:
        """[n, channels, height, width] -> [n, rows, columns, hidden_size]. What is left beyond the
        last whole patch is not looked at."""
        height, width = self.weight.shape[2:]
        patches = pixels.unfold(2, height, height).unfold(3, width, width)
        return linear(
            patches.permute(0, 2, 3, 1, 4, 5).flatten(3), self.weight.flatten(1), self.bias
        )


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """Fewer, wider features of a square grid, row by row: [n, side², width] -> [n, side² / factor²,
    width * factor²] (space to depth; Shi et al., 2016, arXiv:1609.05158, backwards)."""
    side = isqrt(x.shape[1])
    squares = x.view(len(x), side // factor, factor, side // factor, factor, -1)
    return squares.transpose(2, 3).reshape(len(x), (side // factor) ** 2, -1)
