"""Compiles grammars beside the steps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakValueDictionary

from ....contracts.grammars import Grammar, GrammarBackend, GrammarSource
from ....contracts.specs import GrammarSpec, load_object
from ....prompts.vocabulary import Vocabulary

#: Grammars that nobody uses now.
_REMEMBERED = 32


@dataclass(frozen=True)
class CompiledGrammar:
    """A grammar, the backend that it is of, and the tokens that its masks are about."""

    grammar: Grammar
    backend: GrammarBackend
    vocabulary: Vocabulary


class GrammarCompiler:
    """Each grammar is compiled once for all requests that have it at a time, in a thread of its
    own. read_vocabulary: the model's, which the first grammar waits for."""

    def __init__(self, spec: GrammarSpec, read_vocabulary: Callable[[], Vocabulary]) -> None:
        self._spec = spec
        self._read_vocabulary = read_vocabulary
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="octavo-grammars")
        self._known: WeakValueDictionary[GrammarSource, Future[CompiledGrammar]]
        self._known = WeakValueDictionary()
        self._recent: OrderedDict[GrammarSource, Future[CompiledGrammar]] = OrderedDict()

    def compile(self, source: GrammarSource) -> Future[CompiledGrammar]:
        """Fails with ValueError for what the backend refuses. While anyone holds it, it is found
        again by its source."""
        future = self._known.get(source)
        if future is None:
            future = self._thread.submit(self._compile, source)
            self._known[source] = future
        self._recent[source] = future
        self._recent.move_to_end(source)
        while len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        return future

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _compile(self, source: GrammarSource) -> CompiledGrammar:
        return CompiledGrammar(self._backend.compile(source), self._backend, self._vocabulary)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return self._read_vocabulary()

    @cached_property
    def _backend(self) -> GrammarBackend:
        backend: type[GrammarBackend] = load_object(self._spec.load)
        return backend(self._vocabulary.tokens)
