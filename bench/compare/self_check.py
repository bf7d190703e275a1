"""`octavo bench compare --self-check`: does the comparison cry wolf, and does it see a wolf?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from ...core.protocol.config import ConfigError
from ..result import Result, new_result
from .compare import print_verdicts
from .compare_config import CompareConfig, Threshold
from .measure import measure
from .paired_runs import log_ratios
from .side import Side
from .verdict import judge

#: Of twenty comparisons of a version with itself.
_FALSE_ALARMS_ALLOWED = 0.05


async def run(
    side: Side,
    config: CompareConfig,
    threshold: Threshold,
    clean: int,
    slowed: int,
    slowdown: float,
) -> Result:
    """Compare a version with itself `clean` times, and `slowed` times with one whose engine steps
    take 1 + slowdown times as long. `passed`: all of the latter were caught, and at most one in
    twenty of the former gave a false alarm.

    Raises ConfigError if there is nothing to do or the side can't be run.
    """
    if clean < 0 or slowed < 0 or clean + slowed == 0:
        raise ConfigError(f"--clean {clean} --slowed {slowed}: there is nothing to do")
    if not slowdown > threshold.min_effect:
        raise ConfigError(f"--slowdown {slowdown:g} is no more than --min-effect")
    counts = {"clean": clean, "slowed": slowed, "slowdown": slowdown}
    result = new_result("self-check", {**asdict(config), **asdict(threshold), **counts})
    runs: list[Result] = []
    for i in range(clean + slowed):
        injected = slowdown if i >= clean else 0.0
        ratios = log_ratios(*await measure((side, side), config, injected))
        verdicts = judge(ratios, threshold)
        regressions = [verdict.metric for verdict in verdicts if verdict.regressed]
        runs.append({"slowdown": injected, "log_ratios": ratios, "regressions": regressions})
        print(f"{i + 1} of {clean + slowed}, slowed by {injected:g}:")
        print_verdicts(verdicts, threshold)
    return {**result, **tally(runs), "runs": runs}


def tally(runs: Sequence[Result]) -> Result:
    """How many comparisons ended as they should."""
    clean = [bool(run["regressions"]) for run in runs if not run["slowdown"]]
    slowed = [bool(run["regressions"]) for run in runs if run["slowdown"]]
    allowed = max(1, _FALSE_ALARMS_ALLOWED * len(clean))
    return {
        "false_alarms": sum(clean),
        "of_clean": len(clean),
        "caught": sum(slowed),
        "of_slowed": len(slowed),
        "passed": all(slowed) and sum(clean) <= allowed,
    }
