"""Counts what is skipped, by kind."""

from __future__ import annotations

from dataclasses import dataclass, field

from .picture import Skip, printable

#: Of one kind that are kept.
MAX_NAMES = 3
#: That are told apart: endings of files are kinds, and a disk may have any number of them.
MAX_KINDS = 100
#: That are listed one by one.
_LISTED = 12
_OTHER = "other kinds"


@dataclass
class Count:
    """names: the first ones."""

    number: int = 0
    names: list[str] = field(default_factory=list)


class Census:
    """kinds: by kind, in the order in which they came. Its memory is bounded: what is of more than
    MAX_KINDS kinds counts as "other kinds"."""

    def __init__(self) -> None:
        self.kinds: dict[str, Count] = {}

    def add(self, skip: Skip) -> None:
        """Count one."""
        count = self.kinds.get(skip.kind)
        if count is None:
            kind = skip.kind if len(self.kinds) < MAX_KINDS else _OTHER
            count = self.kinds.setdefault(kind, Count())
        count.number += 1
        if len(count.names) < MAX_NAMES:
            count.names.append(skip.name)

    def lines(self) -> list[str]:
        """For people: a line for each kind, the most frequent first, with a name."""
        ranked = sorted(self.kinds.items(), key=lambda item: -item[1].number)
        lines = [_line(kind, count) for kind, count in ranked[:_LISTED]]
        rest = ranked[_LISTED:]
        if rest:
            number = sum(count.number for _, count in rest)
            lines.append(f"skipped {number:,} more, of {len(rest)} other kinds")
        return lines

    def to_json(self) -> dict[str, int]:
        """Numbers by kind."""
        return {kind: count.number for kind, count in self.kinds.items()}


def _line(kind: str, count: Count) -> str:
    such_as = "" if count.number == 1 else "such as "
    return f"skipped {count.number:,} ({kind}): {such_as}{one_line(count.names[0])}"


def one_line(name: str) -> str:
    """A name that can't break a line or command a terminal."""
    return "".join(c if c.isprintable() else "?" for c in printable(name))
