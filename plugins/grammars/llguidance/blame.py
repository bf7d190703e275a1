"""Which keyword of a JSON Schema is refused, where the library says only why."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from ....core.contracts.grammars import GrammarError, GrammarSource
from .schema_keywords import subschemas

_MOST_SECONDS = 0.3
_SHARED = ("$defs", "definitions")


def place_of(error: str, text: str, trial: Callable[[GrammarSource], None]) -> str:
    """Of the keyword without which the innermost schema that is refused for the same reason by
    itself is not, as far as it is found in a bounded time. trial: raises GrammarError for what is
    refused."""
    schema = json.loads(text)
    shared = {name: schema[name] for name in _SHARED if name in schema}
    ends = time.thread_time() + _MOST_SECONDS

    def is_refused(part: Any) -> bool:
        if not isinstance(part, dict) or time.thread_time() > ends:
            return False
        try:
            trial(GrammarSource("json", json.dumps({**shared, **part})))
        except GrammarError as found:
            return str(found) == error
        return False

    place, inner = "$", schema
    while found := next((part for part in subschemas(place, inner) if is_refused(part[1])), None):
        place, inner = found
    # A type may be what makes others matter.
    for keyword in sorted(inner, key="type".__eq__):
        rest = {name: value for name, value in inner.items() if name != keyword}
        if not is_refused(rest) and time.thread_time() < ends:
            return f"{place}.{keyword}"
    return place
