"""How fast several engines answer, measured in turn."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from ..offline import OfflineEngine
from ..workload import RequestShape

_PROMPT_LENGTH, _OUTPUT_LENGTH = 16, 33
_TURNS = 7


@dataclass(frozen=True)
class FirstToken:
    """seconds: median over the turns. ratio: median of the first engine's seconds to its own, of
    each turn: above 1 is faster."""

    seconds: float
    ratio: float


@dataclass(frozen=True)
class DecodeSpeed:
    """tokens_per_s: median over the turns. ratios: to the first engine's, of each turn."""

    tokens_per_s: float
    ratios: list[float]

    @property
    def ratio(self) -> float:
        """Median of the ratios."""
        return statistics.median(self.ratios)


def measure_decode(
    engines: Mapping[str, OfflineEngine],
    prompt_length: int = _PROMPT_LENGTH,
    output_length: int = _OUTPUT_LENGTH,
) -> dict[str, DecodeSpeed]:
    """One request at a time, after its first token."""
    runs = _in_turn(engines, prompt_length, output_length)
    rates = {name: [(len(t) - 1) / (t[-1] - t[0]) for t in own] for name, own in runs.items()}
    base = next(iter(rates.values()))
    return {
        name: DecodeSpeed(statistics.median(own), [a / b for a, b in zip(own, base, strict=True)])
        for name, own in rates.items()
    }


def measure_first_token(
    engines: Mapping[str, OfflineEngine], prompt_length: int
) -> dict[str, FirstToken]:
    """Of one request at a time."""
    runs = _in_turn(engines, prompt_length, output_length=1)
    seconds = {name: [times[0] for times in own] for name, own in runs.items()}
    base = next(iter(seconds.values()))
    return {
        name: FirstToken(
            statistics.median(own),
            statistics.median(b / a for a, b in zip(own, base, strict=True)),
        )
        for name, own in seconds.items()
    }


def _in_turn(
    engines: Mapping[str, OfflineEngine], prompt_length: int, output_length: int
) -> dict[str, list[list[float]]]:
    """When each token of an answer was there, by engine and turn. Each turn has every engine once,
    in the order of the turn before reversed, so that whatever else the machine does meets all
    alike; its prompt is new to the engines, and the same for all."""
    times: dict[str, list[list[float]]] = {name: [] for name in engines}
    # The turn 0 warms up.
    for turn in range(_TURNS + 1):
        names = list(engines)[:: 1 if turn % 2 else -1]
        for name in names:
            shape = RequestShape(turn, 0, prompt_length, output_length, None)
            (record,) = engines[name].run([shape])
            if turn:
                times[name].append(record.token_times)
    return times
