"""Service level objectives, and how many requests keep them all."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .request_record import RequestRecord

_NAMES = ("ttft", "tpot", "e2el")

#: One objective: "ttft", "tpot" or "e2el", and milliseconds.
Objective = tuple[str, float]


def parse_objective(text: str) -> Objective:
    """ "ttft:500". For argparse."""
    name, _, value = text.partition(":")
    try:
        milliseconds = float(value)
    except ValueError:
        milliseconds = -1.0
    if name not in _NAMES or not milliseconds >= 0:
        message = f"{text!r} is no objective; write ttft:500, tpot:50 or e2el:2000, milliseconds"
        raise argparse.ArgumentTypeError(message)
    return name, milliseconds


def count_good(records: Sequence[RequestRecord], objectives: Sequence[Objective]) -> int:
    """Complete answers that keep every objective."""
    return sum(
        record.ok and all(getattr(record, name) * 1000 <= limit for name, limit in objectives)
        for record in records
    )
