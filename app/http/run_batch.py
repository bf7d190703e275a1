"""`octavo run-batch`: what a server would answer, without one that listens."""

from __future__ import annotations

import asyncio

from ...core.process.child_process import Spawned
from ...core.protocol.config import EngineConfig
from ..batches.offline_run import OfflineRun, Summary
from ..batches.run_journal import RunJournal
from ..serving.intake_config import IntakeConfig
from .background import BackgroundRequests
from .listen import ListenConfig
from .loading import LoadingApp
from .serve import load


def run_batch(
    run: OfflineRun,
    journal: RunJournal,
    config: EngineConfig,
    intake: IntakeConfig,
    child: Spawned | None,
) -> Summary:
    """Load the model and answer what is left. child: the engine's process, None for a model that is
    known to give embeddings.

    Raises ConfigError or UnsupportedModelError if the model can't be loaded, and OSError.
    """
    return asyncio.run(_run(run, journal, config, intake, child))


async def _run(
    run: OfflineRun,
    journal: RunJournal,
    config: EngineConfig,
    intake: IntakeConfig,
    child: Spawned | None,
) -> Summary:
    loading = LoadingApp(run.rules.model)
    listen = ListenConfig([], run.rules.max_body_bytes, 0.0, None)
    async with load(loading, config, intake, listen, child) as loaded:
        ask = BackgroundRequests(loaded.app)
        # So that prompts are written while the engine is at others.
        return await run.run(journal, ask, loaded.alive, 2 * config.max_num_seqs)
