"""In which words two texts differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from html import escape

#: Words, marks and spaces. What scripts without spaces write counts as a word by the character.
_TOKEN = re.compile(r"\s+|[\u2e80-\U0003ffff]|[^\W\u2e80-\U0003ffff]+|[^\w\s]")


def marked_differences(left: str, right: str) -> tuple[str, str]:
    """Both as HTML, in each of which what the other lacks at that place is in <mark>."""
    sides = _TOKEN.findall(left), _TOKEN.findall(right)
    changes = [
        change
        for change in SequenceMatcher(None, *sides, autojunk=False).get_opcodes()
        if change[0] != "equal"
    ]
    spans = [(l0, l1) for _, l0, l1, _, _ in changes], [(r0, r1) for _, _, _, r0, r1 in changes]
    return "".join(_marked(sides[0], spans[0])), "".join(_marked(sides[1], spans[1]))


def _marked(tokens: Sequence[str], spans: Sequence[tuple[int, int]]) -> Iterator[str]:
    """HTML, the tokens of each span marked together."""
    reached = 0
    for start, end in spans:
        yield escape("".join(tokens[reached:start]))
        different = escape("".join(tokens[start:end]))
        yield f"<mark>{different}</mark>" if different.strip() else different
        reached = end
    yield escape("".join(tokens[reached:]))
