"""What a run measured, as its JSON file holds it."""

from __future__ import annotations

import statistics

import msgspec

Metrics = dict[str, float]


class MachineLimits(msgspec.Struct, frozen=True):
    """Bytes read from memory a second, and operations of matrix products a second."""

    read_bytes_s: float
    float32_flops: float
    bfloat16_flops: float

    @property
    def matrix_flops(self) -> float:
        """The faster of both."""
        return max(self.float32_flops, self.bfloat16_flops)


class WorkResult(msgspec.Struct, kw_only=True):
    """One engine's, of one kind of work. prompt_tokens: of one request, 0 if it isn't told;
    foreign_cores: the most that others used of the machine meanwhile."""

    repeats: list[Metrics] = []
    prompt_tokens: int = 0
    foreign_cores: float = 0.0
    error: str | None = None

    def median(self, metric: str) -> float | None:
        """None if it was not measured."""
        values = [repeat[metric] for repeat in self.repeats if metric in repeat]
        return statistics.median(values) if values else None


class EngineResult(msgspec.Struct, kw_only=True):
    """One engine's, on one model. works: by name; error: why it did not start."""

    name: str
    version: str = ""
    precision: str = ""
    load_s: float = 0.0
    ready_s: float = 0.0
    peak_bytes: int = 0
    works: dict[str, WorkResult] = {}
    error: str | None = None

    def figure(self, work: str, metric: str) -> float | None:
        """The median of a work's metric; with no work, "peak_mib" or "ready_s" of the engine.
        None if it was not measured."""
        if work:
            return self.works[work].median(metric) if work in self.works else None
        if self.error is not None:
            return None
        return {"peak_mib": self.peak_bytes / 2**20, "ready_s": self.ready_s}[metric]


class GroupResult(msgspec.Struct, kw_only=True):
    """Engines that ran in turns on one model in one precision. floors: of each work, by name."""

    model: str
    precision: str
    engines: list[EngineResult]
    floors: dict[str, Metrics] = {}


class RunResult(msgspec.Struct, kw_only=True):
    """Everything that one command measured. machine: in words; date: in ISO 8601."""

    command: str
    machine: str
    date: str
    limits: MachineLimits
    groups: list[GroupResult] = []
