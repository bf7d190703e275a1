"""The blocks of Qwen's towers, and the windows that some of them attend in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ....core.layers.encoder_stack import Rotary, layer_weights
from ....core.layers.known_modules import is_known
from ....core.layers.mlp import MLP, GatedMLP
from ....core.layers.ragged import attend_within
from ....kernels.dispatch import KernelTable
from ....kernels.weights import EncoderLayerWeights


class PatchAttention(nn.Module):
    """Self-attention with rotary positions in height and width."""

    def __init__(self, width: int, num_heads: int, kernels: KernelTable) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self._num_heads = num_heads
        self._rotate = kernels.rotary_embedding

    def forward(self, x: Tensor, lengths: Sequence[int], rotary: Rotary) -> Tensor:
        """[num_patches, width] in and out; lengths, rotary: see `EncoderStack.run`."""
        heads = self.qkv(x).unflatten(1, (3 * self._num_heads, -1))
        turned, value = heads.split((2 * self._num_heads, self._num_heads), dim=1)
        cos, sin = (table.to(x.dtype) for table in rotary)
        query, key = self._rotate(turned, cos, sin).chunk(2, dim=1)
        projected: Tensor = self.proj(attend_within(query, key, value, lengths).flatten(1))
        return projected


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(
        self, norms: Sequence[nn.Module], attention: PatchAttention, mlp: MLP | GatedMLP
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = norms
        self.attn = attention
        self.mlp = mlp

    def forward(self, x: Tensor, lengths: Sequence[int], rotary: Rotary | None) -> Tensor:
        """See `core.layers.encoder_stack.EncoderLayer`."""
        x = x + self.attn(self.norm1(x), lengths, rotary)
        output: Tensor = x + self.mlp(self.norm2(x))
        return output

    def weights(self) -> EncoderLayerWeights | None:
        """See `core.layers.encoder_stack.EncoderLayer`."""
        if not is_known(self.attn, PatchAttention):
            return None
        projections = (self.attn.qkv, self.attn.proj)
        return layer_weights(projections, self.mlp, (self.norm1, self.norm2))


def window_order(
    rows: int, columns: int, side: int, merge: int, device: torch.device
) -> tuple[Tensor, list[int]]:
    """Cut a grid of merged patches into squares of at most `side` a side: the patches in the order
    of the squares, and how many each of those has.

    rows, columns, side: in merged patches, of merge² patches each, which stand side by side.
    """
    units = torch.arange(rows * columns, device=device).view(rows, columns)
    padded = pad(units, (0, -columns % side, 0, -rows % side), value=-1)
    high, wide = padded.shape
    squares = (
        padded.view(high // side, side, wide // side, side).transpose(1, 2).reshape(-1, side**2)
    )
    real = squares >= 0
    patches = squares[real][:, None] * merge**2 + torch.arange(merge**2, device=device)
    return patches.flatten(), (real.sum(1) * merge**2).tolist()
