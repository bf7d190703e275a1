"""`octavo doctor`: what is looked at, in which order, and how it is printed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec

from ..doctor.caches import look_at_caches
from ..doctor.compiled_kernels import look_at_compiler, look_at_kernels
from ..doctor.finding import Finding, Look, examine
from ..doctor.machine import (
    look_at_accelerator,
    look_at_memory,
    look_at_processor,
    look_at_threads,
)
from ..doctor.packages import look_at_plugins, look_at_versions
from ..doctor.self_test import look_at_self_test
from .served_settings import ServedSettings


def diagnose_and_print(
    config_file: Path | None, encoder_cache: str | None, as_json: bool, shows_traceback: bool
) -> bool:
    """Look at everything; returns whether nothing fails. Settings are those that `octavo serve`
    would find in the file and the environment, encoder_cache before them."""
    found = []
    parts = _parts(ServedSettings(config_file, encoder_cache), shows_traceback)
    width = max(map(len, parts))
    with _no_logs():
        for finding in examine(parts, shows_traceback):
            found.append(finding)
            if not as_json:
                text = f"{finding.status:4}  {finding.part:{width}}  {finding.text}"
                print(text, flush=True)
    fails, warnings = (sum(f.status == status for f in found) for status in ("FAIL", "warn"))
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(_Report(not fails, found))).decode())
    else:
        print(_summary(fails, warnings))
    return not fails


class _Report(msgspec.Struct):
    healthy: bool
    findings: list[Finding]


@contextmanager
def _no_logs() -> Iterator[None]:
    """What is logged meanwhile, such as of a refused plugin, is a finding anyway."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _summary(fails: int, warnings: int) -> str:
    if fails or warnings:
        return f"failures: {fails}, warnings: {warnings}"
    return "all is well; next: octavo serve"


def _parts(settings: ServedSettings, shows_traceback: bool) -> dict[str, Look]:
    return {
        "versions": look_at_versions,
        "processor": look_at_processor,
        "threads": look_at_threads,
        "memory": look_at_memory,
        "accelerator": look_at_accelerator,
        "compiler": look_at_compiler,
        "kernels": look_at_kernels,
        "caches": look_at_caches,
        "plugins": look_at_plugins,
        "settings": settings.look,
        "encoder cache": settings.look_at_encoder_cache,
        "self-test": partial(look_at_self_test, shows_traceback),
    }
