"""The towers of Qwen2-VL (arXiv:2409.12191) and Qwen2.5-VL (arXiv:2502.13923)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from ....core.contracts import JsonDict
from ....core.interfaces import BuildContext, WeightPlace
from ....core.layers.mlp import MLP, GatedMLP
from ....core.layers.norm import RMSNorm
from .blocks import PatchAttention, Windows, make_windows

_EPS = 1e-6


class PatchEmbed(nn.Module):
    """Patches to vectors. The weight is a convolution's, as checkpoints hold it."""

    def __init__(self, config: JsonDict, width: int) -> None:
        super().__init__()
        frames, side = config["temporal_patch_size"], config["patch_size"]
        self.proj = nn.Conv3d(config["in_channels"], width, (frames, side, side), bias=False)

    def forward(self, patches: Tensor) -> Tensor:
        """[..., channels * frames * side²] -> [..., width]."""
        return linear(patches, self.proj.weight.flatten(1))


class Merger(nn.Module):
    """merge² neighbouring patches to one feature."""

    def __init__(self, norm: nn.Module, merged_width: int, width: int) -> None:
        super().__init__()
        self.ln_q = norm
        self.mlp = nn.ModuleDict(
            {"0": nn.Linear(merged_width, merged_width), "2": nn.Linear(merged_width, width)}
        )
        self._merged_width = merged_width

    def forward(self, x: Tensor) -> Tensor:
        """[n, num_patches, patch_width] -> [n, num_tokens, width]."""
        merged = self.ln_q(x).reshape(len(x), -1, self._merged_width)
        output: Tensor = self.mlp["2"](gelu(self.mlp["0"](merged)))
        return output


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, norms: Sequence[nn.Module], attention: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2 = norms
        self.attn = attention
        self.mlp = mlp

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], windows: Windows | None) -> Tensor:
        """[num_images, num_patches, width] in and out."""
        x = x + self.attn(self.norm1(x), rotary, windows)
        output: Tensor = x + self.mlp(self.norm2(x))
        return output


class Qwen2VisionEncoder(nn.Module):
    """See `core.interfaces.VisionEncoder`. Features are merged patches at the decoder's width."""

    def __init__(
        self, config: JsonDict, feature_layers: Sequence[int], build: BuildContext
    ) -> None:
        super().__init__()
        self._build = build
        self._config = config
        self._width = self.patch_width()
        self._merge: int = config["spatial_merge_size"]
        self.hidden_size: int = self.feature_width()
        self.patch_embed = PatchEmbed(config, self._width)
        self.blocks = nn.ModuleList(self._block() for _ in range(config["depth"]))
        self.merger = Merger(self.make_norm(), self._width * self._merge**2, self.hidden_size)

    def patch_width(self) -> int:
        """Width within the tower."""
        return int(self._config["embed_dim"])

    def feature_width(self) -> int:
        """Width after merging."""
        return int(self._config["hidden_size"])

    def make_norm(self) -> nn.Module:
        """The norm of this generation."""
        return nn.LayerNorm(self._width, eps=_EPS)

    def make_mlp(self) -> nn.Module:
        """The feed-forward part of this generation."""
        config = self._config
        return MLP(self._width, self._width * config["mlp_ratio"], config["hidden_act"])

    def windows_of(self, block: int, windows: Windows) -> Windows | None:
        """The windows that a block attends in; None for all patches."""
        return None

    def map_weight(self, name: str) -> WeightPlace:
        """Names are the checkpoint's."""
        return name

    def forward(self, pixel_values: Tensor, layouts: Sequence[tuple[int, ...]] = ()) -> Tensor:
        """[num_images, num_patches, patch values] -> [num_images, num_tokens, hidden_size]."""
        if len(set(layouts)) > 1:
            # As many patches, but in other rows and columns.
            images = zip(pixel_values, layouts, strict=True)
            return torch.cat([self(pixels[None], [layout]) for pixels, layout in images])
        rows, columns = (side // self._merge for side in layouts[0])
        device = pixel_values.device
        rotary = self._rotary(rows, columns, device, pixel_values.dtype)
        windows = make_windows(rows, columns, self._window_side(), self._merge, device)
        x = self.patch_embed(pixel_values)
        for index, block in enumerate(self.blocks):
            x = block(x, rotary, self.windows_of(index, windows))
        output: Tensor = self.merger(x)
        return output

    def _block(self) -> Block:
        heads = self._config["num_heads"]
        attention = PatchAttention(self._width, heads, self._build.kernels)
        return Block([self.make_norm(), self.make_norm()], attention, self.make_mlp())

    def _window_side(self) -> int:
        pixels = self._config.get("window_size", 0) or self._config["patch_size"] * self._merge
        return int(pixels // self._config["patch_size"] // self._merge)

    def _rotary(
        self, rows: int, columns: int, device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """[num_patches, head_dim] cosines and sines, half of the speeds for rows and columns each,
        in the order in which merged patches stand side by side."""
        merge = self._merge
        quarter = self._width // self._config["num_heads"] // 4
        theta = float((self._config.get("rope_parameters") or {}).get("rope_theta", 10000.0))
        steps = torch.arange(quarter, dtype=torch.float32, device=device) / quarter
        grid = torch.cartesian_prod(
            torch.arange(rows * merge, device=device), torch.arange(columns * merge, device=device)
        ).view(rows, merge, columns, merge, 2)
        places = grid.transpose(1, 2).reshape(-1, 2).float()
        angles = (places[..., None] / theta**steps).flatten(1)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)


class Qwen25VisionEncoder(Qwen2VisionEncoder):
    """The second generation: RMS norms, gated layers, and most blocks within windows."""

    def patch_width(self) -> int:
        """Width within the tower."""
        return int(self._config["hidden_size"])

    def feature_width(self) -> int:
        """Width after merging."""
        return int(self._config["out_hidden_size"])

    def make_norm(self) -> nn.Module:
        """An RMS norm."""
        return RMSNorm(self._width, _EPS, self._build.kernels)

    def make_mlp(self) -> nn.Module:
        """A gated layer, with biases."""
        config = self._config
        return GatedMLP(
            self._width,
            config["intermediate_size"],
            self._build.kernels,
            config["hidden_act"],
            bias=True,
        )

    def windows_of(self, block: int, windows: Windows) -> Windows | None:
        """Windows, but for a few blocks."""
        return None if block in self._config["fullatt_block_indexes"] else windows
