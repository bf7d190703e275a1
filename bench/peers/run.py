"""Runs the engines in turns: each work is measured on every engine before it is measured again, so
that what changes on the machine meanwhile changes for all."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from .contenders import MODELS, Contender, Pythons, contenders
from .engine_process import EngineFailedError, EngineProcess
from .floors import floor_metrics, make_rates, read_shape
from .results import EngineResult, GroupResult, MachineLimits, WorkResult
from .workloads import (
    QUESTION,
    WORKLOADS,
    Call,
    Workload,
    make_calls,
    to_metrics,
    warm_up_calls,
)

_LOG = logging.getLogger(__name__)
_PATIENCE_S = 600.0
_tokenizers: Any = AutoTokenizer


@dataclass
class _Runner:
    """A contender that runs, and what it has given."""

    process: EngineProcess
    result: EngineResult

    def measure(self, workload: Workload, variant: int, folder: Path) -> None:
        """Add one repeat, or the error; after an error the work is left."""
        work = self.result.works[workload.name]
        if work.error is not None:
            return
        seconds = {}
        try:
            for name, call in make_calls(workload, variant, folder).items():
                answer = self.process.ask(call)
                seconds[name] = answer["seconds"]
                work.prompt_tokens = answer["prompt_tokens"]
                work.foreign_cores = max(work.foreign_cores, answer["foreign_cores"])
        except EngineFailedError as error:
            work.error = str(error)
            _LOG.warning("%s, %s: %s", self.result.name, workload.name, error)
        else:
            work.repeats.append(to_metrics(workload, seconds))

    def warm_up(self, workload: Workload, folder: Path) -> None:
        """Make ready what is made ready on first use."""
        work = self.result.works.setdefault(workload.name, WorkResult())
        try:
            for call in warm_up_calls(workload, folder):
                self.process.ask(call)
        except EngineFailedError as error:
            work.error = str(error)
            _LOG.warning("%s, %s: %s", self.result.name, workload.name, error)


def run_groups(
    given: Pythons,
    tests: Sequence[str],
    precisions: Sequence[str],
    limits: MachineLimits,
    folder: Path,
    repeats: int | None = None,
) -> Iterator[GroupResult]:
    """Every model that the tests need, in each precision. folder: for images and logs; repeats:
    of each work instead of its own number."""
    for kind, models in MODELS.items():
        workloads = [WORKLOADS[name] for name in tests if WORKLOADS[name].model == kind]
        for model in models if workloads else ():
            prompt = _image_prompt(given.models / model) if kind == "vision" else ""
            for precision in precisions:
                listed = list(contenders(given, model, precision, prompt))
                if given.has_peers and len(listed) == 1:
                    _LOG.info("no peer takes %s in %s: it is left out", model, precision)
                    continue
                # Too many copies of the large model may not fit into memory.
                turns = [[one] for one in listed] if kind == "large" else [listed]
                engines = [
                    result
                    for together in turns
                    for result in run_together(together, workloads, folder, repeats)
                ]
                group = GroupResult(model=model, precision=precision, engines=engines)
                add_floors(group, workloads, given.models / model, limits, folder, repeats)
                yield group


def run_together(
    listed: Sequence[Contender],
    workloads: Sequence[Workload],
    folder: Path,
    repeats: int | None = None,
) -> list[EngineResult]:
    """Start them, measure them in turns, end them. One that fails does not stop the others."""
    results, runners = [], list[_Runner]()
    try:
        for contender in listed:
            result = EngineResult(name=contender.name, precision=contender.precision)
            results.append(result)
            runners += _start(contender, result, folder)
        for workload in workloads:
            _measure(runners, workload, folder, repeats or workload.repeats)
    finally:
        for runner in runners:
            runner.process.stop()
            runner.result.peak_bytes = runner.process.peak_bytes
    return results


def add_floors(
    group: GroupResult,
    workloads: Sequence[Workload],
    checkpoint: Path,
    limits: MachineLimits,
    folder: Path,
    repeats: int | None,
) -> None:
    """Compute the floors of the works that were measured, from the same calls."""
    shape = read_shape(checkpoint)
    rates = make_rates(shape, limits, group.precision)
    for workload in workloads:
        measured = [e.works[workload.name] for e in group.engines if workload.name in e.works]
        tokens = max((work.prompt_tokens for work in measured), default=0)
        variants = range(1, 1 + (repeats or workload.repeats))
        calls: list[Call] = [make_calls(workload, v, folder)["whole"] for v in variants]
        group.floors[workload.name] = floor_metrics(workload, calls, tokens, shape, rates)


def _start(contender: Contender, result: EngineResult, folder: Path) -> list[_Runner]:
    _LOG.info("starting %s, %s", contender.name, contender.precision)
    log = folder / f"{contender.name}-{contender.precision}.log"
    env = {**os.environ, **contender.env}
    try:
        process = EngineProcess(contender.command, env, log, _PATIENCE_S)
    except EngineFailedError as error:
        result.error = str(error)
        _LOG.warning("%s does not start: %s", contender.name, error)
        return []
    result.version = process.version
    result.load_s, result.ready_s = process.load_s, process.ready_s
    return [_Runner(process, result)]


def _measure(runners: Sequence[_Runner], workload: Workload, folder: Path, repeats: int) -> None:
    _LOG.info("measuring %s", workload.name)
    for runner in runners:
        runner.warm_up(workload, folder)
    for variant in range(1, 1 + repeats):
        # A different one begins each time.
        first = variant % len(runners) if runners else 0
        for runner in (*runners[first:], *runners[:first]):
            runner.measure(workload, variant, folder)


def _image_prompt(checkpoint: Path) -> str:
    """The question about an image, as the checkpoint's chat template writes it."""
    parts = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    prompt: str = _tokenizers.from_pretrained(checkpoint).apply_chat_template(
        [{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False
    )
    return prompt
