"""`octavo bench compare`: is NEW slower than BASE?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ...app.table import print_table
from ...core.protocol.config import ConfigError
from ..result import Result, new_result
from .compare_config import CompareConfig, Threshold
from .measure import measure
from .paired_runs import SideRuns, log_ratios, read_runs
from .side import find_side
from .verdict import MetricVerdict, judge


async def run(
    base: str, new: str, config: CompareConfig, threshold: Threshold, save_runs: Path | None
) -> Result:
    """Measure both sides, or read two files of runs, judge, and print the verdicts; `regressions`
    names the metrics.

    save_runs: a folder for base.json and new.json. Raises ConfigError for what can't be compared.
    """
    result = new_result("compare", {**asdict(config), **asdict(threshold)})
    files = [Path(text) for text in (base, new) if text.endswith(".json")]
    if len(files) == 1:
        raise ConfigError(f"{files[0]} is a file of runs; it can only be compared with another")
    if files:
        runs = (read_runs(files[0]), read_runs(files[1]))
    else:
        runs = await measure((find_side(base), find_side(new)), config)
    if save_runs is not None:
        _save(runs, save_runs)
    ratios = log_ratios(*runs)
    verdicts = judge(ratios, threshold)
    print_verdicts(verdicts, threshold)
    return {
        **result,
        "base": _describe(runs[0]),
        "new": _describe(runs[1]),
        "metrics": {v.metric: {**asdict(v), "log_ratios": ratios[v.metric]} for v in verdicts},
        "regressions": [verdict.metric for verdict in verdicts if verdict.regressed],
    }


def print_verdicts(verdicts: Sequence[MetricVerdict], threshold: Threshold) -> None:
    """A table, and a line for each regression."""
    rows = [["metric", "new / base", "pairs from", "to", "p (Holm)"]]
    rows += [
        [v.metric, f"{v.ratio:.3f}", f"{v.low:.3f}", f"{v.high:.3f}", f"{v.p_value:.4f}"]
        for v in verdicts
    ]
    print_table(rows)
    for v in verdicts:
        if v.regressed:
            print(
                f"regression: {v.metric} takes {v.ratio:.3f} times as long (p = {v.p_value:.4f}, "
                f"tested against {1 + threshold.min_effect:g})"
            )


def _describe(runs: SideRuns) -> dict[str, str | None]:
    return {"label": runs.label, "revision": runs.revision, "package": runs.package}


def _save(runs: tuple[SideRuns, SideRuns], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        runs[0].write(folder / "base.json")
        runs[1].write(folder / "new.json")
    except OSError as error:
        raise ConfigError(f"--save-runs: {folder} can't be written: {error.strerror}") from error
