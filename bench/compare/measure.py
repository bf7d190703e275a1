"""Runs both sides in turn, in pairs of fresh processes."""

from __future__ import annotations

import logging
import tempfile
import uuid
from pathlib import Path

from ...core.contracts.specs import load_object
from .compare_config import CompareConfig
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
    with tempfile.TemporaryDirectory() as folder:
        models = _models(config, Path(folder) / "made")
        for pair in range(config.pairs):
            logger.info("pair %d of %d", pair + 1, config.pairs)
            first = pair % 2
            workers: dict[int, WorkerProcess] = {}
            try:
                for i in (first, 1 - first):
                    options = [*models, f"--slowdown={slowdown if i else 0.0}"]
                    workers[i] = await WorkerProcess.spawn(sides[i], Path(folder), options)
                    # Alone, so that neither's time to load holds some of the other's.
                    await workers[i].until_ready()
                await _measure_pair((base, new), workers, pair, config)
            finally:
                for worker in workers.values():
                    await worker.stop()
    return base, new


def _models(config: CompareConfig, made: Path) -> list[str]:
    """The workers' options that name them; `made` is a folder to make one in."""
    if config.model is not None:
        return [f"--model={config.model}"]
    # Loaded here, as judging what was saved needs no torch.
    load_object("octavo.bench.smollm2_checkpoint:save_smollm2")(made)
    return [f"--memory-model={made}"]


async def _measure_pair(
    runs: tuple[SideRuns, SideRuns],
    workers: dict[int, WorkerProcess],
    pair: int,
    config: CompareConfig,
) -> None:
    """Both sides' workers in turn, in the order in which they were spawned or the reverse."""
    first, second = workers
    for i, worker in workers.items():
        runs[i].package = worker.package
        if config.startup:
            runs[i].add("startup", pair, worker.start_seconds)
    metrics = config.metrics
    for metric in metrics:
        await workers[0].measure(metric, seed=0)
        await workers[1].measure(metric, seed=0)
    for _ in range(config.quads):
        for metric in metrics:
            for i in (first, second, second, first):
                # Of the same seed, so that both do the same; each has it once.
                seed = 1 + len(runs[i].seconds.get(metric, [[]] * (pair + 1))[-1])
                runs[i].add(metric, pair, await workers[i].measure(metric, seed))
