"""What was seen of an engine during the last minutes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from .exposition import Exposition

#: Seconds that are kept.
KEPT_S = 300.0


@dataclass(frozen=True)
class Sample:
    """The state at a time, in seconds of any clock. values: by the metric's name. blocks: of the KV
    cache, by state. hits, misses: of images in the encoder cache, by tier."""

    time: float
    values: Mapping[str, float]
    blocks: Mapping[str, float] = field(default_factory=dict)
    hits: Mapping[str, float] = field(default_factory=dict)
    misses: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rate:
    """A counter's growth a second, from one time to another."""

    start: float
    end: float
    per_second: float


def sample_of(exposition: Exposition, now: float) -> Sample:
    """What the view shows of a server's metrics."""
    return Sample(
        now,
        exposition.values(),
        exposition.by_label("kv_blocks", "state"),
        exposition.by_label("encoder_cache_hits_total", "tier"),
        exposition.by_label("encoder_cache_misses_total", "tier"),
    )


class History:
    """Samples of the last KEPT_S seconds, the newest last."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()

    @property
    def newest(self) -> Sample | None:
        """None before the first."""
        return self._samples[-1] if self._samples else None

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, sample: Sample) -> None:
        """Times must grow."""
        self._samples.append(sample)
        while self._samples[0].time < sample.time - KEPT_S:
            self._samples.popleft()

    def rates(self, counter: str) -> list[Rate]:
        """One between each two samples that have the counter, oldest first."""
        known = [(s.time, s.values[counter]) for s in self._samples if counter in s.values]
        return [
            Rate(start, end, _increase(before, after) / (end - start))
            for (start, before), (end, after) in pairwise(known)
        ]


def rate_lately(rates: list[Rate], seconds: float) -> float:
    """Mean over the intervals that ended within so many seconds before the newest's end; 0 if
    there are none."""
    recent = [rate for rate in rates if rate.end > rates[-1].end - seconds]
    span = sum(rate.end - rate.start for rate in recent)
    grown = sum(rate.per_second * (rate.end - rate.start) for rate in recent)
    return grown / span if span else 0.0


def _increase(before: float, after: float) -> float:
    """Of a counter, which begins anew at 0 if its server does; as Prometheus' `increase`."""
    return after - before if after >= before else after
