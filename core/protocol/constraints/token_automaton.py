"""Which token sequences an answer may be."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

import msgspec

from ..named_fields import NamedFields
from ..request_error import RequestError


class TokenAutomaton(msgspec.Struct, metaclass=NamedFields, frozen=True, kw_only=True, dict=True):
    """A deterministic finite automaton over token ids, which an answer follows from state 0 on.

    transitions: of each state, by each token that may come next, the state that it leads to.
    accepting: states in which the answer may end, by a token that ends answers and no other.
    Raises RequestError for a state that isn't there, and for one from which no end is reached.
    """

    transitions: tuple[dict[int, int], ...]
    accepting: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.transitions or not self.accepting:
            raise _refusal("needs a state, and one that accepts")
        known = range(len(self.transitions))
        targets = {target for edges in self.transitions for target in edges.values()}
        for state in sorted(targets.union(self.accepting)):
            if state not in known:
                raise _refusal(f"has no state {state}, only {len(known)} of them")
        for state in known:
            if state not in self.distances:
                raise _refusal(f"can't end from state {state} on")

    @cached_property
    def distances(self) -> dict[int, int]:
        """Of each state, the fewest tokens to one that accepts."""
        sources = defaultdict(list)
        for state, edges in enumerate(self.transitions):
            for target in set(edges.values()):
                sources[target].append(state)
        found = dict.fromkeys(self.accepting, 0)
        nearest = list(found)
        for state in nearest:  # grows meanwhile
            for source in sources[state]:
                if source not in found:
                    found[source] = found[state] + 1
                    nearest.append(source)
        return found

    @property
    def shortest(self) -> int:
        """The tokens of the shortest answer, with the one that ends it."""
        return self.distances[0] + 1

    @cached_property
    def token_ids(self) -> frozenset[int]:
        """All tokens of its transitions."""
        return frozenset(token_id for edges in self.transitions for token_id in edges)

    def accepts(self, state: int) -> bool:
        """Whether the answer may end here."""
        return self.distances[state] == 0

    def tokens_from(self, state: int, room: int | None) -> list[int]:
        """Those that may come next, so that the answer can still end within `room` tokens, the one
        that ends it among them; None is without a limit."""
        edges = self.transitions[state]
        if room is None:
            return list(edges)
        return [token for token, target in edges.items() if self.distances[target] + 2 <= room]

    def after(self, state: int, token_id: int) -> int:
        """The state that a token leads to; the same for one that ends the answer."""
        return self.transitions[state].get(token_id, state)


def _refusal(reason: str) -> RequestError:
    return RequestError(f"token_automaton {reason}", "token_automaton")
