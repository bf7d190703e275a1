"""Tokens a second of several engines, measured in turn."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from ..offline import OfflineEngine
from ..workload import RequestShape

_PROMPT_LENGTH, _OUTPUT_LENGTH = 16, 33
_TURNS = 7


@dataclass(frozen=True)
class DecodeSpeed:
    """tokens_per_s: median over the turns. ratios: to the first engine's, of each turn."""

    tokens_per_s: float
    ratios: list[float]

    @property
    def ratio(self) -> float:
        """Median of the ratios."""
        return statistics.median(self.ratios)


def measure_decode(engines: Mapping[str, OfflineEngine]) -> dict[str, DecodeSpeed]:
    """One request at a time, after its first token. Each turn has every engine once, in the order
    of the turn before reversed, so that whatever else the machine does meets all alike."""
    rates: dict[str, list[float]] = {name: [] for name in engines}
    # The turn 0 warms up.
    for turn in range(_TURNS + 1):
        names = list(engines)[:: 1 if turn % 2 else -1]
        for name in names:
            rate = _rate(engines[name], turn)
            if turn:
                rates[name].append(rate)
    base = next(iter(rates.values()))
    return {
        name: DecodeSpeed(statistics.median(own), [a / b for a, b in zip(own, base, strict=True)])
        for name, own in rates.items()
    }


def _rate(engine: OfflineEngine, turn: int) -> float:
    """Tokens a second of a prompt that is new to the engine, and the same for all."""
    (record,) = engine.run([RequestShape(turn, 0, _PROMPT_LENGTH, _OUTPUT_LENGTH, None)])
    times = record.token_times
    return (len(times) - 1) / (times[-1] - times[0])
