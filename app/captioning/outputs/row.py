"""What is written about one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """name: as the output shows it: relative or absolute, and printable.
    path: of the picture's file, as open() takes it; None if it is none.
    texts: by the name of the prompt, post-processed; none if it failed.
    error: why it failed.
    facts: what else may be asked for by --fields: width, height, digest, duplicate_of,
        finish_reason, prompt_tokens, completion_tokens (the latter three by prompt), and the
        columns of its table. Plain data, as JSON has it.
    content: the picture's file, for an output that takes it along.
    """

    name: str
    path: str | None
    texts: Mapping[str, str]
    error: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)
