"""Rotary position tables, computed once at load from a config's rope settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...kernels.ops import AttentionMetadata
from ..contracts.specs import JsonDict


@dataclass(frozen=True)
class RotaryTable:
    """Cosines and sines of every angle that the model may need.

    table: [num_positions, 2 * rotary_dim], a position's cosines before its sines.
    sections: for three-dimensional positions (time, height, width), how many of the rotary_dim / 2
        speeds follow each; empty for plain ones (M-RoPE: Wang et al., 2024, arXiv:2409.12191).
    short_limit: sequences of at most so many tokens turn by other speeds than longer ones, all of
        their tokens alike; these are the last rows of the table. 0: all turn by the same.
    """

    table: Tensor
    sections: tuple[int, ...] = ()
    short_limit: int = 0

    def lookup(
        self, positions: Tensor, metadata: AttentionMetadata | None = None
    ) -> tuple[Tensor, Tensor]:
        """Positions [num_tokens], or [3, num_tokens] with sections -> cos and sin, each
        [num_tokens, rotary_dim]. The former stand for three equal ones.

        metadata: of the same tokens. Raises ValueError for none where lengths of sequences count.
        """
        if self.short_limit:
            if metadata is None:
                raise ValueError("this rope turns by a sequence's length: give lookup the metadata")
            positions = positions + self._first_rows(metadata)
        rows = self.table.index_select(0, positions.flatten())
        cos, sin = rows.chunk(2, dim=-1)
        if positions.dim() == 1:
            return cos, sin
        shape = (*positions.shape, -1)
        return self._mix(cos.view(shape)), self._mix(sin.view(shape))

    def widened(self) -> RotaryTable:
        """Table in float32, for kernels that rotate in float32."""
        return replace(self, table=self.table.float())

    def _first_rows(self, metadata: AttentionMetadata) -> Tensor | int:
        """First row of the table for each token's sequence."""
        short = len(self.table) - self.short_limit
        lengths = metadata.known_lens or metadata.context_lens
        first = [0 if length > self.short_limit else short for length in lengths]
        if len(set(first)) == 1:
            return first[0]
        device = self.table.device
        counts = torch.tensor(metadata.query_lens, device=device)
        return torch.tensor(first, device=device).repeat_interleave(counts)

    def _mix(self, table: Tensor) -> Tensor:
        """[3, num_tokens, rotary_dim] -> [num_tokens, rotary_dim], each section from its row."""
        parts = torch.split(table, list(self.sections * 2), dim=-1)
        return torch.cat([part[i % 3] for i, part in enumerate(parts)], dim=-1)


def rotary_table(
    settings: JsonDict, head_dim: int, num_positions: int, device: torch.device, dtype: torch.dtype
) -> RotaryTable:
    """The table for a config's `rope_parameters`. Angles are computed in float32 (Su et al.,
    2021, arXiv:2104.09864).

    num_positions: the model's limit, `max_position_embeddings`.
    Raises ValueError for a rope type that is not known or whose settings are not complete.
    """
    rotary_dim = int(head_dim * (settings.get("partial_rotary_factor") or 1.0))
    steps = torch.arange(0, rotary_dim, 2, dtype=torch.float32, device=device) / rotary_dim
    speeds = 1.0 / float(settings.get("rope_theta") or 10000.0) ** steps
    rope_type = settings.get("rope_type") or settings.get("type") or "default"
    sections = tuple(settings.get("mrope_section") or ())
    settings = {
        "original_max_position_embeddings": num_positions,
        **settings,
        "max_position_embeddings": num_positions,
    }
    if rope_type not in (*_SCALINGS, _LONGROPE):
        supported = ", ".join(sorted((*_SCALINGS, _LONGROPE)))
        raise ValueError(f"rope_type {rope_type!r} is not supported; supported: {supported}")
    if settings.get("mrope_interleaved"):
        raise ValueError("mrope_interleaved in rope_parameters is not supported")
    if rope_type == _LONGROPE and sections:
        raise ValueError("rope_type 'longrope' with mrope_section is not supported")
    try:
        if rope_type == _LONGROPE:
            return _longrope_table(speeds, settings, dtype)
        speeds, amplitude = _SCALINGS[rope_type](speeds, settings)
    except KeyError as error:
        raise ValueError(f"rope_type {rope_type!r} needs {error} in rope_parameters") from error
    return RotaryTable(_angles(speeds, amplitude, num_positions).to(dtype), sections)


def _angles(speeds: Tensor, amplitude: float, num_positions: int) -> Tensor:
    """See RotaryTable.table."""
    positions = torch.arange(num_positions, dtype=torch.float32, device=speeds.device)
    angles = torch.outer(positions, speeds)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos, sin, sin), dim=-1) * amplitude


def _longrope_table(speeds: Tensor, settings: JsonDict, dtype: torch.dtype) -> RotaryTable:
    """LongRoPE (Ding et al., 2024, arXiv:2402.13753): each speed is divided by a number of its
    own, which is one in sequences within the context that the model was first trained on, and
    another in longer ones."""
    num_positions = settings["max_position_embeddings"]
    trained, factor = settings["original_max_position_embeddings"], _factor(settings)
    amplitude = settings.get("attention_factor")
    if amplitude is None:
        amplitude = math.sqrt(1 + math.log(factor) / math.log(trained)) if factor > 1 else 1.0

    def angles(name: str, count: int) -> Tensor:
        divisors = torch.tensor(settings[name], dtype=torch.float32, device=speeds.device)
        if len(divisors) != len(speeds):
            raise ValueError(
                f"{name} has {len(divisors)} numbers, where the model turns {len(speeds)} pairs"
            )
        return _angles(speeds / divisors, amplitude, count).to(dtype)

    if trained >= num_positions:
        return RotaryTable(angles("short_factor", num_positions))
    table = torch.cat((angles("long_factor", num_positions), angles("short_factor", trained)))
    return RotaryTable(table, short_limit=trained)


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


def _yarn(speeds: Tensor, settings: JsonDict) -> tuple[Tensor, float]:
    """YaRN (Peng et al., 2023, arXiv:2309.00071), with the amplitude that it gives attention."""
    half, theta = len(speeds), float(settings.get("rope_theta") or 10000.0)
    trained = settings["original_max_position_embeddings"]

    def index_of(turns: float) -> float:
        """Index of the speed that makes this many turns over the trained context."""
        return half * math.log(trained / (turns * 2 * math.pi)) / math.log(theta)

    low = index_of(settings.get("beta_fast") or 32.0)
    high = index_of(settings.get("beta_slow") or 1.0)
    if settings.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * half - 1)
    indices = torch.arange(half, dtype=torch.float32, device=speeds.device)
    slowed = ((indices - low) / (high - low or 0.001)).clamp(0, 1)
    factor = _factor(settings)
    return slowed * speeds / factor + (1 - slowed) * speeds, _yarn_amplitude(settings, factor)


def _dynamic(speeds: Tensor, settings: JsonDict) -> tuple[Tensor, float]:
    """Dynamic NTK: speeds change in sequences beyond `max_position_embeddings`, which are longer
    than the engine takes."""
    return speeds, 1.0


def _factor(settings: JsonDict) -> float:
    """Ratio of the context length to that of the first training."""
    ratio = settings["max_position_embeddings"] / settings["original_max_position_embeddings"]
    return float(settings.get("factor") or ratio)


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


_LONGROPE = "longrope"
_Scaling = Callable[[Tensor, Any], tuple[Tensor, float]]
#: "mrope" is the older name for plain speeds with sections.
_SCALINGS: dict[str, _Scaling] = {
    "default": _default,
    "dynamic": _dynamic,
    "mrope": _default,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
}
