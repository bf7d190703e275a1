"""Keeps text of a request from posing as special tokens in a rendered prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from ..protocol.request_error import RequestError

_FIRST_PRIVATE = "\ue000"
#: The private use areas of Unicode, in which nothing has a meaning.
_PRIVATE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


class SpecialTextGuard:
    """Breaks up special tokens in text by a character that none of the text holds, which is
    taken out again after the template's own special tokens were found.

    pattern: matches any special token. Raises RequestError for texts that hold every character
    which could be used.
    """

    def __init__(self, pattern: re.Pattern[str], *texts: Any) -> None:
        self._pattern = pattern
        held = json.dumps(texts, ensure_ascii=False, default=str)
        self.character = _FIRST_PRIVATE if _FIRST_PRIVATE not in held else _character_beside(held)

    def protect(self, value: Any) -> Any:
        """A JSON value with all its strings broken up, keys too."""
        if isinstance(value, str):
            return self._pattern.sub(lambda m: m.group()[0] + self.character + m.group()[1:], value)
        if isinstance(value, Mapping):
            return {self.protect(key): self.protect(item) for key, item in value.items()}
        return [self.protect(item) for item in value] if isinstance(value, Sequence) else value


def _character_beside(held: str) -> str:
    taken = set(held)
    free = next((c for c in map(chr, chain(*_PRIVATE)) if c not in taken), None)
    if free is None:
        raise RequestError("the texts hold every private use character of Unicode", "messages")
    return free
