"""The towers of Qwen2-VL (arXiv:2409.12191) and Qwen2.5-VL (arXiv:2502.13923)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from ....core.contracts.interfaces import BuildContext, WeightPlace
from ....core.contracts.specs import JsonDict
from ....core.layers.encoder_stack import EncoderStack
from ....core.layers.mlp import MLP, GatedMLP
from ....core.layers.norm import RMSNorm
from ....kernels.weights import EncoderShape
from .blocks import Block, PatchAttention, window_order

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
        """[num_patches, patch_width] -> [num_tokens, width]."""
        merged = self.ln_q(x).reshape(-1, self._merged_width)
        output: Tensor = self.mlp["2"](gelu(self.mlp["0"](merged)))
        return output


class Qwen2VisionEncoder(nn.Module):
    """See `plugin.interfaces.VisionEncoder`. Features are merged patches at the decoder's width."""

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
        self.blocks = EncoderStack(
            (self._block() for _ in range(config["depth"])), self.shape(), build.kernels
        )
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

    def make_mlp(self) -> MLP | GatedMLP:
        """The feed-forward part of this generation."""
        return MLP(self._width, self.intermediate_width(), self._config["hidden_act"])

    def intermediate_width(self) -> int:
        """Width within the feed-forward part."""
        return int(self._width * self._config["mlp_ratio"])

    def shape(self) -> EncoderShape:
        """Shape of the blocks, for kernels."""
        config = self._config
        rms_norm = isinstance(self.make_norm(), RMSNorm)
        sizes = (self._width, self.intermediate_width(), config["num_heads"])
        return EncoderShape(*sizes, config["hidden_act"], _EPS, rms_norm)

    def attends_in_windows(self, block: int) -> bool:
        """Whether patches of a block see those of their window only."""
        return False

    def map_weight(self, name: str) -> WeightPlace:
        """Names are the checkpoint's."""
        return name

    def forward(
        self, images: Sequence[Tensor], layouts: Sequence[tuple[int, ...]] = ()
    ) -> Sequence[Tensor]:
        """[num_patches, patch values] of each -> [num_tokens, hidden_size]."""
        x = self.patch_embed(torch.cat(tuple(images)))
        lengths = [len(image) for image in images]
        order, windows = self._order(layouts, x.device)
        cos, sin = self._rotary(layouts, x.device)
        x, rotary = x[order], (cos[order], sin[order])
        for in_windows, group in groupby(range(len(self.blocks)), key=self.attends_in_windows):
            blocks = list(group)
            runs = windows if in_windows else lengths
            x = self.blocks.run(x, runs, blocks[0], blocks[-1] + 1, rotary)
        features: Tensor = self.merger(x[order.argsort()])
        return torch.split(features, [length // self._merge**2 for length in lengths])

    def _block(self) -> Block:
        heads = self._config["num_heads"]
        attention = PatchAttention(self._width, heads, self._build.kernels)
        return Block([self.make_norm(), self.make_norm()], attention, self.make_mlp())

    def _window_side(self) -> int:
        pixels = self._config.get("window_size", 0) or self._config["patch_size"] * self._merge
        return int(pixels // self._config["patch_size"] // self._merge)

    def _order(
        self, layouts: Sequence[tuple[int, ...]], device: torch.device
    ) -> tuple[Tensor, list[int]]:
        """The patches of all images, window by window, and how many each window has."""
        orders, lengths, start = [], [], 0
        for rows, columns in layouts:
            grid = (rows // self._merge, columns // self._merge)
            order, windows = window_order(*grid, self._window_side(), self._merge, device)
            orders.append(order + start)
            lengths += windows
            start += len(order)
        return torch.cat(orders), lengths

    def _rotary(
        self, layouts: Sequence[tuple[int, ...]], device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """[num_patches, head_dim] cosines and sines, half of the speeds for rows and columns each,
        in the order in which merged patches stand side by side."""
        merge = self._merge
        quarter = self._width // self._config["num_heads"] // 4
        theta = float((self._config.get("rope_parameters") or {}).get("rope_theta", 10000.0))
        exponents = torch.arange(quarter, dtype=torch.float32, device=device) / quarter
        positions = []
        for rows, columns in layouts:
            grid = torch.cartesian_prod(
                torch.arange(rows, device=device), torch.arange(columns, device=device)
            ).view(rows // merge, merge, columns // merge, merge, 2)
            positions.append(grid.transpose(1, 2).reshape(-1, 2).float())
        angles = (torch.cat(positions)[..., None] / theta**exponents).flatten(1)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()


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

    def intermediate_width(self) -> int:
        """Width within the feed-forward part."""
        return int(self._config["intermediate_size"])

    def make_mlp(self) -> MLP | GatedMLP:
        """A gated layer, with biases."""
        return GatedMLP(
            self._width,
            self.intermediate_width(),
            self._build.kernels,
            self._config["hidden_act"],
            bias=True,
        )

    def attends_in_windows(self, block: int) -> bool:
        """All but a few blocks'."""
        return block not in self._config["fullatt_block_indexes"]
