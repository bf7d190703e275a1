"""Patches against torch's convolution."""

from __future__ import annotations

import pytest
import torch
from octavo.plugin.layers import PatchEmbedding
from torch import nn


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(32, 32), (14, 28), (37, 45)])
def test_patches_are_a_convolution(shape: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 24, (7, 14), (7, 14), bias=bias)
    patches = PatchEmbedding(3, 24, (7, 14), bias=bias)
    patches.load_state_dict(convolution.state_dict())
    pixels = torch.randn(2, 3, *shape)
    with torch.inference_mode():
        expected = convolution(pixels).permute(0, 2, 3, 1)
        torch.testing.assert_close(patches(pixels), expected, atol=1e-5, rtol=1e-5)
