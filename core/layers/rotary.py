"""Rotary position tables, computed once at load from a config's rope settings."""

from __future__ import annotations

import torch
from torch import Tensor

from ..contracts import JsonDict


class RotaryTable:
    """Cosines and sines for every position that the model may see.

    Su et al., 2021 (arXiv:2104.09864). Angles are computed in float32 and stored in `dtype`.
    """

    def __init__(self, inverse_frequencies: Tensor, num_positions: int, dtype: torch.dtype) -> None:
        device = inverse_frequencies.device
        positions = torch.arange(num_positions, dtype=torch.float32, device=device)
        angles = torch.outer(positions, inverse_frequencies)
        angles = torch.cat((angles, angles), dim=-1)
        self._cos = angles.cos().to(dtype)
        self._sin = angles.sin().to(dtype)

    def lookup(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """[num_tokens] positions -> cos and sin, each [num_tokens, head_dim]."""
        return self._cos[positions], self._sin[positions]


def inverse_frequencies(config: JsonDict, head_dim: int, device: torch.device) -> Tensor:
    """[head_dim / 2] rotation speeds from `rope_parameters`, or the older `rope_theta`.

    Raises ValueError for a rope type that is not known.
    """
    settings = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rope_type = settings.get("rope_type", settings.get("type", "default"))
    theta: float = settings.get("rope_theta") or config.get("rope_theta") or 10000.0
    steps = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
    speeds = 1.0 / theta**steps
    if rope_type == "default":
        return speeds
    if rope_type == "linear":
        return speeds / float(settings["factor"])
    raise ValueError(f"rope_type {rope_type!r} is not supported; supported: default, linear")
