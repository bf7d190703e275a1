"""What a benchmark gives: a JSON object that says what ran, where and when, and a table of it."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..app.table import print_table
from ..core.protocol.config import ConfigError
from .machine import machine_facts

#: Fields in the order of their measurement.
Result = dict[str, Any]
#: What is given of a distribution besides mean, median and standard deviation.
PERCENTILES = (90, 95, 99)
_DISTRIBUTION = re.compile(r"(mean|median|std|p\d+)_(\w+)_ms")


def new_result(benchmark: str, settings: Mapping[str, Any]) -> Result:
    """The fields that every result begins with. settings: what JSON can hold."""
    return {
        "benchmark": benchmark,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _without_passwords(shlex.join(["octavo", *sys.argv[1:]])),
        "machine": machine_facts(),
        "settings": json.loads(_without_passwords(json.dumps(settings))),
    }


def distribution(name: str, seconds: Sequence[float]) -> dict[str, float | None]:
    """Mean, median, standard deviation and percentiles as `mean_NAME_ms` and so on, in the manner
    of `vllm bench serve`; None where nothing was measured."""
    names = ["mean", "median", "std", *(f"p{percent}" for percent in PERCENTILES)]
    if not len(seconds):
        return dict.fromkeys((f"{statistic}_{name}_ms" for statistic in names), None)
    milliseconds = np.asarray(seconds, dtype=float) * 1000
    values = [np.mean(milliseconds), np.median(milliseconds), np.std(milliseconds)]
    values += list(np.percentile(milliseconds, PERCENTILES))
    return {
        f"{statistic}_{name}_ms": float(value)
        for statistic, value in zip(names, values, strict=True)
    }


def summary_rows(result: Result) -> list[list[str]]:
    """The single values among a result's fields, with their names."""
    hidden = ("benchmark", "date", "command", "machine", "settings")
    return [
        [name, _shown(value)]
        for name, value in result.items()
        if name not in hidden and isinstance(value, int | float | str | None)
    ]


def print_result(result: Result) -> None:
    """Print the single values as a table, and the distributions as another."""
    single = [row for row in summary_rows(result) if _DISTRIBUTION.fullmatch(row[0]) is None]
    for rows in (single, _distribution_rows(result)):
        if rows:
            print_table(rows)


def write_json(result: Result, path: Path) -> None:
    """Write a result. Raises ConfigError if the file can't be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}") from error


def _distribution_rows(result: Result) -> list[list[str]]:
    """One row for each that `distribution` gave, after a row of headings."""
    heads, cells = ["milliseconds"], dict[str, list[str]]()
    for field, value in summary_rows(result):
        match = _DISTRIBUTION.fullmatch(field)
        if match is not None:
            cells.setdefault(match[2], []).append(value)
            heads += [match[1]] if match[1] not in heads else []
    rows = [[name, *values] for name, values in cells.items()]
    return [heads, *rows] if rows else []


def _without_passwords(text: str) -> str:
    """URLs in it lose what names a user."""
    return re.sub(r"(?<=://)[^/@\s\"']*@", "", text)


def _shown(value: float | str | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
