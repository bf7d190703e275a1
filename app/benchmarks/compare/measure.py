"""Runs both sides in turn, in pairs of fresh processes."""

from __future__ import annotations

import logging
import tempfile
import uuid
from pathlib import Path

from .compare_config import METRICS, CompareConfig
from .paired_runs import SideRuns
from .side import Side
from .worker_process import WorkerProcess

logger = logging.getLogger(__name__)


async def measure(
    sides: tuple[Side, Side], config: CompareConfig, slowdown: float = 0.0
) -> tuple[SideRuns, SideRuns]:
    """Run base and new. slowdown: of new, see `worker.py`. Raises ConfigError if one fails."""
    run_id = uuid.uuid4().hex
    base, new = (SideRuns(run_id, side.label, side.revision) for side in sides)
    for pair in range(config.pairs):
        with tempfile.TemporaryDirectory() as folder:
            logger.info("pair %d of %d", pair + 1, config.pairs)
            await _measure_pair((base, new), sides, pair, config, Path(folder), slowdown)
    return base, new


async def _measure_pair(
    runs: tuple[SideRuns, SideRuns],
    sides: tuple[Side, Side],
    pair: int,
    config: CompareConfig,
    folder: Path,
    slowdown: float,
) -> None:
    first = pair % 2
    workers: dict[int, WorkerProcess] = {}
    try:
        for i in (first, 1 - first):
            workers[i] = await WorkerProcess.spawn(sides[i], folder, slowdown if i else 0.0)
        for i in (first, 1 - first):
            await workers[i].until_ready()
            runs[i].package = workers[i].package
            if config.startup:
                runs[i].add("startup", pair, workers[i].start_seconds)
        for metric in METRICS:
            await workers[0].measure(metric, seed=0)
            await workers[1].measure(metric, seed=0)
        for _ in range(config.quads):
            for metric in METRICS:
                for i in (first, 1 - first, 1 - first, first):
                    # Of the same seed, so that both do the same; each has it once.
                    seed = 1 + len(runs[i].seconds.get(metric, [[]] * (pair + 1))[-1])
                    runs[i].add(metric, pair, await workers[i].measure(metric, seed))
    finally:
        for worker in workers.values():
            await worker.stop()
