"""Texts that are left out of another, which may come in pieces."""

from __future__ import annotations

import re
from collections.abc import Collection


class SkippedTexts:
    """Such as a vocabulary's special tokens, of which there may be thousands."""

    def __init__(self, texts: Collection[str]) -> None:
        longest_first = sorted(texts, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._beginnings = {text[:end] for text in texts for end in range(1, len(text))}
        self._longest = max(map(len, self._beginnings), default=0)

    def cut(self, text: str, last: bool) -> tuple[str, str]:
        """The text without them, and what is held back of it, as one may begin there. last: nothing
        follows."""
        text = self._pattern.sub("", text)
        if not last:
            for start in range(max(0, len(text) - self._longest), len(text)):
                if text[start:] in self._beginnings:
                    return text[:start], text[start:]
        return text, ""
