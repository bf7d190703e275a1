"""Rotary position tables, computed once at load from a config's rope settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..contracts import JsonDict


@dataclass(frozen=True)
class RotaryTable:
    """Cosines and sines of every angle that the model may need.

    table: [num_positions, 2 * rotary_dim], a position's cosines before its sines.
    sections: for three-dimensional positions (time, height, width), how many of the rotary_dim / 2
        speeds follow each; empty for plain ones (M-RoPE: Wang et al., 2024, arXiv:2409.12191).
    """

    table: Tensor
    sections: tuple[int, ...] = ()

    def lookup(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Positions [num_tokens], or [3, num_tokens] with sections -> cos and sin, each
        [num_tokens, rotary_dim]. The former stand for three equal ones."""
        rows = self.table.index_select(0, positions.flatten())
        cos, sin = rows.chunk(2, dim=-1)
        if positions.dim() == 1:
            return cos, sin
        shape = (*positions.shape, -1)
        return self._mix(cos.view(shape)), self._mix(sin.view(shape))

    def widened(self) -> RotaryTable:
        """The same in float32, for kernels that rotate so."""
        return replace(self, table=self.table.float())

    def _mix(self, table: Tensor) -> Tensor:
        """[3, num_tokens, rotary_dim] -> [num_tokens, rotary_dim], each section from its row."""
        parts = torch.split(table, list(self.sections * 2), dim=-1)
        return torch.cat([part[i % 3] for i, part in enumerate(parts)], dim=-1)


def rotary_table(
    settings: JsonDict, head_dim: int, num_positions: int, device: torch.device, dtype: torch.dtype
) -> RotaryTable:
    """The table for a config's `rope_parameters`. Angles are computed in float32 (Su et al.,
    2021, arXiv:2104.09864).

    Raises ValueError for a rope type that is not known.
    """
    rotary_dim = int(head_dim * settings.get("partial_rotary_factor", 1.0))
    steps = torch.arange(0, rotary_dim, 2, dtype=torch.float32, device=device) / rotary_dim
    speeds = 1.0 / float(settings.get("rope_theta") or 10000.0) ** steps
    rope_type = settings.get("rope_type") or settings.get("type") or "default"
    if rope_type not in _SCALINGS:
        raise ValueError(
            f"rope_type {rope_type!r} is not supported; supported: {', '.join(sorted(_SCALINGS))}"
        )
    speeds, amplitude = _SCALINGS[rope_type](speeds, settings)
    angles = torch.outer(torch.arange(num_positions, dtype=torch.float32, device=device), speeds)
    cos, sin = angles.cos(), angles.sin()
    table = torch.cat((cos, cos, sin, sin), dim=-1) * amplitude
    return RotaryTable(table.to(dtype), tuple(settings.get("mrope_section") or ()))


def _default(speeds: Tensor, settings: JsonDict) -> tuple[Tensor, float]:
    return speeds, 1.0


def _linear(speeds: Tensor, settings: JsonDict) -> tuple[Tensor, float]:
    """Positions divided by a factor (Chen et al., 2023, arXiv:2306.15595)."""
    return speeds / float(settings["factor"]), 1.0


def _llama3(speeds: Tensor, settings: JsonDict) -> tuple[Tensor, float]:
    """Llama 3.1: slow speeds divided by the factor, fast ones kept, those between blended."""
    turns = settings["original_max_position_embeddings"] * speeds / (2 * math.pi)
    low, high = settings["low_freq_factor"], settings["high_freq_factor"]
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return kept * speeds + (1 - kept) * speeds / settings["factor"], 1.0


def _longrope(speeds: Tensor, settings: JsonDict) -> tuple[Tensor, float]:
    """Each speed divided by a factor of its own (LongRoPE: Ding et al., 2024, arXiv:2402.13753)."""
    short, long = settings["short_factor"], settings["long_factor"]
    if short != long:
        raise ValueError("rope_type 'longrope' with factors that change with a text's length")
    amplitude = settings.get("attention_factor")
    if amplitude is None:
        raise ValueError("rope_type 'longrope' without attention_factor")
    factors = torch.tensor(short, dtype=torch.float32, device=speeds.device)
    return speeds / factors, float(amplitude)


def _yarn(speeds: Tensor, settings: JsonDict) -> tuple[Tensor, float]:
    """YaRN (Peng et al., 2023, arXiv:2309.00071), with the amplitude that it gives attention."""
    half, theta = len(speeds), float(settings.get("rope_theta") or 10000.0)
    trained = settings["original_max_position_embeddings"]

    def index_of(turns: float) -> float:
        """Which speed makes so many turns over the trained context."""
        return half * math.log(trained / (turns * 2 * math.pi)) / math.log(theta)

    low = index_of(settings.get("beta_fast") or 32.0)
    high = index_of(settings.get("beta_slow") or 1.0)
    if settings.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * half - 1)
    indices = torch.arange(half, dtype=torch.float32, device=speeds.device)
    slowed = ((indices - low) / (high - low or 0.001)).clamp(0, 1)
    factor = float(settings["factor"])
    return slowed * speeds / factor + (1 - slowed) * speeds, _yarn_amplitude(settings, factor)


def _yarn_amplitude(settings: JsonDict, factor: float) -> float:
    given = settings.get("attention_factor")
    if given is not None:
        return float(given)

    def amplitude(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    weight, weight_all = settings.get("mscale"), settings.get("mscale_all_dim")
    if weight and weight_all:
        return amplitude(weight) / amplitude(weight_all)
    return amplitude(1.0)


_Scaling = Callable[[Tensor, Any], tuple[Tensor, float]]
#: "mrope" is the older name for plain speeds with sections.
_SCALINGS: dict[str, _Scaling] = {
    "default": _default,
    "mrope": _default,
    "linear": _linear,
    "llama3": _llama3,
    "longrope": _longrope,
    "yarn": _yarn,
}
