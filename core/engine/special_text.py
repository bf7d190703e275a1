"""Keeps text of a request from posing as special tokens in a rendered prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any


class SpecialTextGuard:
    """Breaks up special tokens in text by a character that none of the text holds, which is
    taken out again after the template's own special tokens were found.

    pattern: matches any special token.
    """

    def __init__(self, pattern: re.Pattern[str], *texts: Any) -> None:
        self._pattern = pattern
        held = json.dumps(texts, ensure_ascii=False, default=str)
        self.character = next(c for c in map(chr, range(0xE000, 0xF8FF)) if c not in held)

    def protect(self, value: Any) -> Any:
        """A JSON value with all its strings broken up, keys too."""
        if isinstance(value, str):
            return self._pattern.sub(lambda m: m.group()[0] + self.character + m.group()[1:], value)
        if isinstance(value, Mapping):
            return {self.protect(key): self.protect(item) for key, item in value.items()}
        return [self.protect(item) for item in value] if isinstance(value, Sequence) else value
