"""What a check found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ...core.contracts.specs import load_object


@dataclass(frozen=True)
class Finding:
    """One line of the report. subject: what was checked, such as "encoder clip"."""

    subject: str
    check: str
    result: Literal["ok", "FAILED", "skipped"]
    note: str = ""


def attempt(subject: str, check: str, run: Callable[[], str]) -> Finding:
    """Run a check; its note is what it returns, and it fails with what it raises."""
    try:
        return Finding(subject, check, "ok", run())
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        return Finding(subject, check, "FAILED", f"{type(error).__name__}: {error}")


def check_class(subject: str, what: str, path: str, methods: tuple[str, ...]) -> Iterator[Finding]:
    """Whether "module:Class" can be imported and has these methods."""

    def run() -> str:
        loaded: Any = load_object(path)
        missing = [name for name in methods if not callable(getattr(loaded, name, None))]
        if missing:
            raise TypeError(f"{path} has no {', '.join(missing)}")
        return ""

    yield attempt(subject, what, run)
