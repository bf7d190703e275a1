"""What an expression of PromQL names: metrics and labels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<range>\[[^\]]*\])"""
    r"""|(?P<number>\d[\w.]*)"""
    r"""|(?P<name>[A-Za-z_:][\w:]*)"""
    r"""|(?P<mark>[{}()])"""
)
#: After these, names in parentheses are labels.
_GROUPINGS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS = _GROUPINGS | {"and", "or", "unless", "bool", "offset", "inf", "nan"}


@dataclass
class Named:
    """The names in an expression."""

    metrics: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)


def names_in(expression: str) -> Named:
    """All of them. Functions and aggregations, which parentheses or a grouping follow, are left
    out."""
    tokens = [(m.lastgroup, m.group()) for m in _TOKEN.finditer(expression)]
    named, closing = Named(), ""
    for index, (kind, word) in enumerate(tokens):
        after = tokens[index + 1][1] if index + 1 < len(tokens) else ""
        if word == "{":
            closing = "}"
        elif word == "(" and index and tokens[index - 1][1] in _GROUPINGS:
            closing = ")"
        elif word == closing:
            closing = ""
        elif kind != "name":
            continue
        elif closing:
            named.labels.add(word)
        elif word not in _WORDS and after != "(" and after not in ("by", "without"):
            named.metrics.add(word)
    return named
