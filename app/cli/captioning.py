"""`octavo caption`."""

from __future__ import annotations

import argparse
import shlex
import sys

from ...core.protocol.config import EngineConfig
from ..captioning.backends.open_backend import open_backend
from ..captioning.census import Census
from ..captioning.job import JobOptions
from ..captioning.outputs.open_sink import STANDARD_OUTPUT
from ..captioning.plan import Destination, Plan
from ..captioning.progress import Progress
from ..captioning.prompts.options import prompt_set_of
from ..captioning.run import Result, run_plan
from ..captioning.sources.options import SourceOptions
from ..captioning.sources.read import SourceReader
from ..offline.url_reader import UrlReader
from .engine_options import engine_config
from .failures import FAILED


def caption(options: argparse.Namespace) -> int:
    """Run the job; returns 0 if all pictures have captions, 1 if some failed, and 128 and the
    signal's number if one ended it early."""
    config = engine_config(options)
    plan = _plan(options, config)
    plan.check()
    backend = open_backend(config, plan.prompts, options.workers, options.ray)
    census = Census()
    reader = SourceReader(config.media_limits, _urls(options, config))
    try:
        # That would start anew, and what has been done would be lost.
        words = [word for word in sys.argv[1:] if word != "--overwrite"]
        hint = f"To go on: {shlex.join(['octavo', *words])}"
        result = run_plan(plan, backend, reader, Progress(options.progress, census), census, hint)
    finally:
        reader.close()
        backend.close()
    return _status(result, options)


def _plan(options: argparse.Namespace, config: EngineConfig) -> Plan:
    output = options.output
    if output is None and not options.sidecar:
        output = STANDARD_OUTPUT
    destination = Destination(
        output=output,
        sidecars=tuple(options.sidecar),
        errors=options.errors,
        journal=options.journal,
        fields=options.fields,
        paths=options.paths,
        header=options.header,
        shard_size=options.shard_size,
        overwrite=options.overwrite,
    )
    return Plan(
        sources=options.sources,
        prompts=prompt_set_of(options, config.media_limits),
        destination=destination,
        source_options=SourceOptions(options.column, limits=config.media_limits),
        options=JobOptions(
            options.dedupe, options.retry_failed, options.only_missing, options.max_errors
        ),
        limits=config.media_limits,
        background=config.image_background,
    )


def _urls(options: argparse.Namespace, config: EngineConfig) -> UrlReader | None:
    networks = [str(network) for network in options.allowed_media_networks]
    return UrlReader.of(
        options.allowed_media_domains, networks, options.media_timeout, config.max_image_bytes
    )


def _status(result: Result, options: argparse.Namespace) -> int:
    if result.ended_by is not None:
        return 128 + result.ended_by
    if result.too_many_errors:
        print(
            f"octavo: ended early, as {result.failed} pictures failed and --max-errors is "
            f"{options.max_errors}; the same command goes on (without --overwrite)",
            file=sys.stderr,
        )
    elif earlier := result.failed_in_all - result.failed:
        print(
            f"octavo: {earlier} failed in earlier runs; --retry-failed tries again", file=sys.stderr
        )
    return FAILED if result.failed_in_all else 0
