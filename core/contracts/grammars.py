"""The contract of grammars: which tokens may follow, as masks. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

GrammarKind = Literal["json", "regex", "choice", "grammar", "structural_tag"]


class GrammarSource(NamedTuple):
    """What an answer must be, as it was asked for.

    kind: "json" is a JSON Schema, "choice" a JSON list of strings, "grammar" a context-free
        grammar in whatever notation the backend reads, "structural_tag" what vLLM calls so.
    text: of that kind; UTF-8, of a bounded size.
    """

    kind: GrammarKind
    text: str


class GrammarError(ValueError):
    """A backend can't honour a grammar, for the reason given; or the grammar can't be followed
    any further, as that would take too much."""


class GrammarMatcher(Protocol):
    """Where one answer is in its grammar. For one thread at a time. None of the tokens that end an
    answer is shown to it, and none that was accepted is ever taken back."""

    def accept(self, token_id: int) -> bool:
        """Move on behind a token; False if it can't come next. Raises GrammarError."""
        ...

    @property
    def may_end(self) -> bool:
        """Whether the answer is complete if it ends here."""
        ...

    @property
    def has_ended(self) -> bool:
        """Whether nothing can follow."""
        ...


class Grammar(Protocol):
    """A compiled grammar, from which any thread may make matchers."""

    def matcher(self) -> GrammarMatcher:
        """One that stands at the beginning; takes well under a millisecond."""
        ...


class BatchMask(NamedTuple):
    """bitmask: [num_matchers, at least num_tokens / 32]; token i may come next if bit i % 32, the
        lowest first, of word i // 32 is set.
    errors: of each matcher, why it can't be followed any further, if that is so.
    """

    bitmask: NDArray[np.int32]
    errors: Sequence[GrammarError | None]


class GrammarBackend(Protocol):
    """Compiles grammars for a vocabulary and masks what they don't let follow. Threads may share
    it.

    Constructed as Class(tokens), where tokens are the bytes of each, by id. Those without bytes,
    special tokens among them, are never part of an answer.
    """

    def __init__(self, tokens: Sequence[bytes]) -> None: ...

    @staticmethod
    def check(source: GrammarSource) -> None:
        """Raises GrammarError for what `compile` would refuse with any vocabulary, and says what
        part of it is not honoured. Bounded in time and memory, whatever the source. It should let
        go of the GIL, as an event loop may run beside it; `compile` too."""
        ...

    def compile(self, source: GrammarSource) -> Grammar:
        """Raises GrammarError. Bounded in time and memory, whatever the source."""
        ...

    def mask(self, matchers: Sequence[Any]) -> BatchMask:
        """What may follow each matcher's tokens; they are of grammars that this backend compiled.
        Run beside the model's forward: it should let go of the GIL."""
        ...
