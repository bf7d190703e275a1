"""`octavo quantize` in the terminal."""

from __future__ import annotations

import argparse
from typing import Any

from transformers.utils import logging as transformers_logging

from ..quantize.recipe import make_recipe
from ..quantize.run import Job, quantize
from ..table import print_table

# Not typed.
_log: Any = transformers_logging


def quantize_and_print(options: argparse.Namespace) -> None:
    """Raises ConfigError."""
    recipe = make_recipe(
        options.method,
        options.bits,
        options.group_size,
        options.symmetric,
        options.float8,
        options.bits_budget,
        options.damping,
        options.act_order,
        options.no_tuning,
    )
    _log.disable_progress_bar()
    job = Job(
        options.model,
        options.output,
        recipe,
        options.calibration,
        options.num_samples,
        options.sample_len,
    )
    report = quantize(job, print)
    print_table(report.rows())
    before, after = report.bytes_before / 1e6, report.bytes_after / 1e6
    print(f"{report.bits:.3f} bits a weight in the layers above, scales and zeros counted")
    if report.divergences:
        plain, tuned = report.divergences
        kept = "" if tuned < plain else ": left as they were"
        print(f"scales tuned: KL on held-out samples {plain:.5f} before, {tuned:.5f} now{kept}")
    print(f"weights: {before:.1f} MB before, {after:.1f} MB now, in {report.output}")
    print(f"next: octavo serve {report.output}")
