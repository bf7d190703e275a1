"""`octavo run-batch`."""

from __future__ import annotations

import argparse
import os

from ...core.embedding.model_kind import surely_gives_embeddings
from ...core.models.preflight import preflight
from ...core.process.child_process import Spawned
from ...core.protocol.config import EngineConfig
from ..batches.input_file import LineRules
from ..batches.offline_run import OfflineRun, Summary
from ..batches.run_journal import RunJournal
from ..http import run_batch as running
from ..serving.intake_config import IntakeConfig
from .engine_options import engine_config
from .failures import FAILED
from .intake_options import intake_config
from .serving import default_name

_URLS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")


def run_batch(options: argparse.Namespace) -> int:
    """Answer a file of requests; returns 0 if all have been answered, 1 if some failed."""
    config = engine_config(options)
    name = options.served_model_name or default_name(options.model)
    rules = LineRules(_URLS, name, options.max_body_mib * 2**20)
    run = OfflineRun(options.input, options.output, rules, options.overwrite)
    intake = intake_config(options)
    journal = run.open()
    try:
        summary = run.ended(journal) or _loaded_run(run, journal, config, intake)
    finally:
        journal.close()
    earlier = f", {summary.done_before} of them in earlier runs" if summary.done_before else ""
    print(f"{run.output}: {summary.answered} answered, {summary.failed} failed{earlier}")
    return FAILED if summary.failed else 0


def _loaded_run(
    run: OfflineRun, journal: RunJournal, config: EngineConfig, intake: IntakeConfig
) -> Summary:
    embeds = surely_gives_embeddings(config.model)
    if embeds:
        return running.run_batch(run, journal, config, intake, None)
    if os.path.exists(config.model):
        preflight(config)
    with Spawned("octavo.core.client.engine_process") as child:
        return running.run_batch(run, journal, config, intake, child)
