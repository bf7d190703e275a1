"""What the doctor finds: a line each, whatever goes wrong while looking."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec

from ...core.protocol.config import ConfigError
from ...kernels.spec import KernelError

#: warn: it works, but worse than it could. FAIL: something doesn't work until it is mended.
Status: TypeAlias = Literal["ok", "warn", "FAIL"]
Remark: TypeAlias = tuple[Status, str]
#: Looks at one part of the machine or the installation; may raise anything.
Look: TypeAlias = Callable[[], Iterable[Remark]]


class Finding(msgspec.Struct, frozen=True):
    """One line of the report."""

    part: str
    status: Status
    text: str


def examine(parts: Mapping[str, Look], shows_traceback: bool) -> Iterator[Finding]:
    """All findings in order, each as soon as it is made. What a part raises is its last finding,
    after a traceback on stderr if one is wanted."""
    for part, look in parts.items():
        try:
            for status, text in look():
                yield Finding(part, status, text)
        except Exception as error:  # noqa: BLE001 - whatever is broken is to be told
            if shows_traceback:
                traceback.print_exception(error)
            yield Finding(part, "FAIL", _one_line(error))


def _one_line(error: Exception) -> str:
    is_ours = isinstance(error, ConfigError | KernelError)  # says what to do
    return " ".join((str(error) if is_ours else f"{type(error).__name__}: {error}").split())
