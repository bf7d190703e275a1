"""What both sides took for the same work at almost the same time."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from ...core.protocol.config import ConfigError


@dataclass
class SideRuns:
    """One side of a comparison, as it is written to a file.

    run_id: both sides' of one comparison.
    seconds: by metric, for each pair of processes, what each repetition took; that of the other
        side's file with the same place was measured right before or after.
    """

    run_id: str
    label: str
    revision: str | None = None
    package: str = ""
    seconds: dict[str, list[list[float]]] = field(default_factory=dict)

    def add(self, metric: str, pair: int, seconds: float) -> None:
        """Note one measurement."""
        pairs = self.seconds.setdefault(metric, [])
        while len(pairs) <= pair:
            pairs.append([])
        pairs[pair].append(seconds)

    def write(self, path: Path) -> None:
        """Write a file that `read_runs` takes. Raises OSError."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def read_runs(path: Path) -> SideRuns:
    """Raises ConfigError if it can't be read or is something else."""
    try:
        runs = msgspec.json.decode(path.read_bytes(), type=SideRuns)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{path} holds no runs of a side, as --save-runs writes them: {error}"
        ) from error
    if not all(s > 0 and math.isfinite(s) for s in _flat(runs)):
        raise ConfigError(f"{path} has times that are not above 0 s")
    return runs


def log_ratios(base: SideRuns, new: SideRuns) -> dict[str, list[float]]:
    """By metric, for each pair of processes, the median over its repetitions of
    log(seconds of new / seconds of base).

    Raises ConfigError if they were not measured together.
    """
    if base.run_id != new.run_id:
        raise ConfigError(f"{base.label} and {new.label} were not measured together, in one run")
    if _shape(base) != _shape(new) or not _flat(base):
        raise ConfigError(f"{base.label} and {new.label} do not have the same measurements")
    return {
        metric: [
            statistics.median(
                math.log(after / before) for before, after in zip(*repetitions, strict=True)
            )
            for repetitions in zip(base.seconds[metric], new.seconds[metric], strict=True)
        ]
        for metric in base.seconds
    }


def _flat(runs: SideRuns) -> list[float]:
    return [s for pairs in runs.seconds.values() for pair in pairs for s in pair]


def _shape(runs: SideRuns) -> dict[str, list[int]]:
    return {metric: [len(pair) for pair in pairs] for metric, pairs in runs.seconds.items()}
