"""Answers that are one of several texts: the automaton of the token sequences that spell them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from ..protocol.constraints.token_automaton import TokenAutomaton
from ..protocol.request_error import RequestError
from .token_bytes import Spellings
from .tokenizer import Tokenizer

#: What an answer has come to.
_Place = TypeVar("_Place", bound=Hashable)
_Edges = Mapping[_Place, Mapping[int, _Place]]


def choices_automaton(choices: Sequence[str], tokenizer: Tokenizer) -> TokenAutomaton:
    """Answers under it are one of the choices, or one after a single space, in whatever tokens the
    model likes to spell it.

    Of a tokenizer whose tokens' texts depend on each other, only in those that it encodes a choice
    as. Raises RequestError for choices that are no answers, and for those that can't be spelled.
    """
    _check(choices)
    spellings = tokenizer.token_bytes.spellings
    if spellings is not None:
        # Decoders of WordPiece put a space before what an entry stands for.
        return _of_all_spellings(choices, *spellings, longest=tokenizer.longest_token + 1)
    return _of_encodings(choices, tokenizer)


def _check(choices: Sequence[str]) -> None:
    if isinstance(choices, str) or not choices:
        raise RequestError("choices must be a list of texts that is not empty", "choices")
    seen = set()
    for index, choice in enumerate(choices):
        if not isinstance(choice, str) or not choice or choice != choice.strip():
            raise RequestError(
                f"choices[{index}] is {choice!r}; a choice is a text without spaces around it",
                "choices",
            )
        if not _is_encodable(choice):
            raise RequestError(f"choices[{index}] is {choice!r}, which is not UTF-8", "choices")
        if choice in seen:
            raise RequestError(f"choices has {choice!r} twice", "choices")
        seen.add(choice)


def _is_encodable(text: str) -> bool:
    """Without the lone surrogates that stand for other bytes of a command line."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _of_all_spellings(
    choices: Sequence[str], first: Spellings, later: Spellings, longest: int
) -> TokenAutomaton:
    """A place is the bytes so far; None before the first token, which may add none. longest: bytes
    of a token."""
    edges: dict[bytes | None, dict[int, bytes | None]] = defaultdict(dict)
    ends: dict[bytes | None, str] = {}
    for choice in choices:
        for text in (choice.encode(), b" " + choice.encode()):
            ends[text] = choice
            for end in range(min(len(text), longest) + 1):
                edges[None] |= dict.fromkeys(first.get(text[:end], ()), text[:end])
            for start in range(len(text)):
                for end in range(start + 1, min(len(text), start + longest) + 1):
                    tokens = later.get(text[start:end], ())
                    edges[text[:start]] |= dict.fromkeys(tokens, text[:end])
    return _automaton(None, edges, ends, choices)


def _of_encodings(choices: Sequence[str], tokenizer: Tokenizer) -> TokenAutomaton:
    """A place is the tokens so far."""
    edges: dict[tuple[int, ...], dict[int, tuple[int, ...]]] = defaultdict(dict)
    ends: dict[tuple[int, ...], str] = {}
    for choice in choices:
        for token_ids in map(tuple, tokenizer.encode_word(choice)):
            if tokenizer.decode(token_ids).strip() == choice:
                ends[token_ids] = choice
                for end, token_id in enumerate(token_ids):
                    edges[token_ids[:end]][token_id] = token_ids[: end + 1]
    return _automaton((), edges, ends, choices)


def _automaton(
    start: _Place, edges: _Edges[_Place], ends: Mapping[_Place, str], choices: Sequence[str]
) -> TokenAutomaton:
    """Of the places between the start and the ends, without those that lead nowhere."""
    reached = _reachable([start], lambda place: edges.get(place, {}).values())
    spelled = {ends[place] for place in reached if place in ends}
    for index, choice in enumerate(choices):
        if choice not in spelled:
            raise RequestError(
                f"choices[{index}], {choice!r}, can't be written with the model's tokens", "choices"
            )
    sources = defaultdict(list)
    for place in reached:
        for target in edges.get(place, {}).values():
            sources[target].append(place)
    live = _reachable(ends, lambda place: sources[place])
    states = {place: state for state, place in enumerate(p for p in reached if p in live)}

    def numbered(targets: Mapping[int, _Place]) -> dict[int, int]:
        return {token_id: states[to] for token_id, to in targets.items() if to in live}

    return TokenAutomaton(
        transitions=tuple(numbered(edges.get(place, {})) for place in states),
        accepting=tuple(state for place, state in states.items() if place in ends),
    )


def _reachable(
    starts: Iterable[_Place], neighbours: Callable[[_Place], Iterable[_Place]]
) -> dict[_Place, None]:
    """The starts and all that follow from them, the nearest first."""
    found = dict.fromkeys(starts)
    queue = list(found)
    for place in queue:  # grows meanwhile
        for neighbour in neighbours(place):
            if neighbour not in found:
                found[neighbour] = None
                queue.append(neighbour)
    return found
