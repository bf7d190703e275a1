"""The table that `octavo verify` prints."""

from __future__ import annotations

from collections.abc import Sequence

from ..table import print_table
from .comparison import Finding

_HEAD = ("check", "prompt", "result", "difference", "tolerance", "")


def print_report(findings: Sequence[Finding], subject: str) -> bool:
    """One line a finding, and a summary; returns whether the sides agree, and on something."""
    print_table([_HEAD, *map(_row, findings)])
    count = {
        result: sum(finding.result == result for finding in findings)
        for result in ("ok", "DIFFERS", "skipped")
    }
    agrees = count["ok"] > 0 and not count["DIFFERS"]
    verdict = "agrees with" if agrees else "DOES NOT AGREE with"
    print(
        f"\n{subject} {verdict} transformers: {count['ok']} checks ok, "
        f"{count['DIFFERS']} different, {count['skipped']} skipped"
    )
    return agrees


def _row(finding: Finding) -> tuple[str, ...]:
    numbers = (finding.difference, finding.tolerance)
    difference, tolerance = ("" if number is None else f"{number:.2e}" for number in numbers)
    return (finding.check, finding.case, finding.result, difference, tolerance, finding.note)
