"""Attention over the patches of an image, all of them or window by window."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from ....kernels.dispatch import KernelTable


@dataclass(frozen=True)
class Windows:
    """The patches of each window: indices [num_windows, size], and which of them are real."""

    indices: Tensor
    real: Tensor


class PatchAttention(nn.Module):
    """Self-attention with rotary positions in height and width."""

    def __init__(self, width: int, num_heads: int, kernels: KernelTable) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self._num_heads = num_heads
        self._rotate = kernels.rotary_embedding

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], windows: Windows | None) -> Tensor:
        """x: [num_images, num_patches, width]; rotary: [num_patches, head_dim] each."""
        images, patches, _ = x.shape
        qkv = self.qkv(x).view(images, patches, 3, self._num_heads, -1)
        turned = qkv[:, :, :2].transpose(0, 1).reshape(patches, -1, qkv.shape[-1])
        turned = self._rotate(turned, *rotary)
        turned = turned.view(patches, images, 2, self._num_heads, -1).transpose(0, 1)
        query, key = turned.unbind(2)
        value = qkv[:, :, 2]
        if windows is None:
            attended = _attend(query, key, value)
        else:
            attended = _attend_within(windows, query, key, value)
        projected: Tensor = self.proj(attended.reshape(x.shape))
        return projected


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """[n, tokens, heads, head_dim] each."""
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)


def _attend_within(windows: Windows, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """All windows in one batch, padded to the largest."""
    indices, real = windows.indices, windows.real
    output = torch.empty_like(query)
    query, key, value = (x[:, indices].flatten(0, 1) for x in (query, key, value))
    mask = real.repeat(len(output), 1)[:, None, None, :]
    attended = _attend(query, key, value, mask).view(len(output), *indices.shape, *query.shape[2:])
    output[:, indices[real]] = attended[:, real]
    return output


def make_windows(rows: int, columns: int, side: int, merge: int, device: torch.device) -> Windows:
    """Cut a grid of merged patches into squares of at most `side` a side.

    rows, columns, side: in merged patches, of merge² patches each, which stand side by side.
    """
    units = torch.arange(rows * columns, device=device).view(rows, columns)
    padded = pad(units, (0, -columns % side, 0, -rows % side), value=-1)
    high, wide = padded.shape
    squares = (
        padded.view(high // side, side, wide // side, side).transpose(1, 2).reshape(-1, side**2)
    )
    patches = squares[..., None] * merge**2 + torch.arange(merge**2, device=device)
    real = (squares >= 0)[..., None].expand_as(patches).flatten(1)
    return Windows(patches.flatten(1).clamp(min=0), real)
