"""What a job has done at a moment, in words and for machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from .census import Census, one_line
from .picture import printable
from .rates import Rate


@dataclass
class Tally:
    """captioned, failed, skipped: pictures; done_before: by earlier runs of the job. tokens: of
    answers. cached: what a cache knew already. total: all pictures that there will be, if that is
    known. name: of one that is being done."""

    captioned: int = 0
    failed: int = 0
    skipped: int = 0
    done_before: int = 0
    tokens: int = 0
    cached: int = 0
    total: int | None = None
    name: str = ""

    @property
    def answered(self) -> int:
        """Pictures that cost time."""
        return self.captioned + self.failed

    @property
    def done(self) -> int:
        """What is finished, of `total`."""
        return self.answered + self.skipped + self.done_before


@dataclass(frozen=True)
class ProgressReport:
    """tally: as it is at this moment. seconds: since the beginning. recent, overall: lately, and
    since the beginning. census: of what was skipped."""

    tally: Tally
    seconds: float
    recent: Rate
    overall: Rate
    census: Census = field(default_factory=Census)

    @property
    def seconds_left(self) -> float | None:
        """At the recent rate; None where that can't be told."""
        if self.tally.total is None or self.recent.pictures <= 0:
            return None
        return max(self.tally.total - self.tally.done, 0) / self.recent.pictures

    def line(self) -> str:
        """For a terminal; what may be cut off is at its end."""
        tally, left = self.tally, self.seconds_left
        parts = [
            f"{tally.done:,}" + ("" if tally.total is None else f" of {tally.total:,}"),
            *_rates(self.recent),
            "" if left is None else f"{_duration(left)} left",
            *self._counts(),
            one_line(tally.name.rpartition("/")[2] or tally.name),
        ]
        return ", ".join(part for part in parts if part)

    def summary(self) -> str:
        """A line, and one for each kind of what was skipped."""
        number = self.tally.captioned
        pictures = "1 picture" if number == 1 else f"{number:,} pictures"
        speed = ", ".join(_rates(self.overall))
        took = f"in {_duration(self.seconds)}" + (f" ({speed})" if speed else "")
        counts = ", ".join([f"captioned {pictures} {took}", *self._counts()])
        return "\n".join([counts, *self.census.lines()])

    def to_json(self, ended: bool) -> dict[str, Any]:
        """ended: at the end the rates are those over all."""
        tally, left = self.tally, self.seconds_left
        rate = self.overall if ended else self.recent
        return {
            "event": "end" if ended else "progress",
            "captioned": tally.captioned,
            "failed": tally.failed,
            "skipped": tally.skipped,
            "done_before": tally.done_before,
            "total": tally.total,
            "tokens": tally.tokens,
            "cached": tally.cached,
            "seconds": round(self.seconds, 3),
            "pictures_per_second": round(rate.pictures, 3),
            "tokens_per_second": round(rate.tokens, 3),
            **(
                {"skipped_kinds": self.census.to_json()}
                if ended
                else {
                    "seconds_left": None if left is None else round(left, 1),
                    "file": printable(tally.name) or None,
                }
            ),
        }

    def _counts(self) -> list[str]:
        tally = self.tally
        numbers = {
            "failed": tally.failed,
            "skipped": tally.skipped,
            "done before": tally.done_before,
            "cached": tally.cached,
        }
        return [f"{number:,} {name}" for name, number in numbers.items() if number]


def _rates(rate: Rate) -> list[str]:
    rates = {"pictures/s": rate.pictures, "tokens/s": rate.tokens}
    return [f"{_number(value)} {unit}" for unit, value in rates.items() if value > 0]


def _number(value: float) -> str:
    """To two or three digits, never as a power of ten."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _duration(seconds: float) -> str:
    """Such as 0:12:34."""
    return str(timedelta(seconds=int(seconds)))
