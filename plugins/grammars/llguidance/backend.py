"""llguidance (https://github.com/guidance-ai/llguidance): an Earley parser over lexemes, which are
derivatives of regular expressions, walked along a trie of the vocabulary."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from functools import cache

from llguidance import LLExecutor, LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par

from ....core.contracts.grammars import BatchMask, GrammarError, GrammarSource
from .blame import place_of
from .deep_stack import with_deep_stack
from .lark import to_lark

#: What a grammar may cost: with these, and sources of 128 KiB, the worst that is known takes some
#: hundred milliseconds to compile, and tens of them for a mask. Large lexemes are worked out as
#: they are needed: all at once, a `multipleOf` could take minutes.
_LIMITS = LLParserLimits(
    max_grammar_size=30_000,
    step_max_items=20_000,
    max_lexer_states=50_000,
    precompute_large_lexemes=False,
    verbose_errors=False,
)
#: Where in the Lark that was made of it, which nobody has seen.
_PLACE = re.compile(r"^(?:at )?\d+\(\d+\): (?:failed to compile JSON schema: )?")
_REGEX_ERROR = "error: "
_ERROR_LENGTH = 500
#: Where the library's reasons would say nothing to who wrote the grammar.
_REWORDED = {
    "oneOf constraints are not supported": (
        "'oneOf' is honoured only where no two of its schemas can hold together; use 'anyOf'"
    ),
    "Unknown format": "the format is not one that is known",
    "Current row has": "it is too complex: too much may come next at one place",
    "Too many items": "it is too complex: too much may come next at one place",
    "too many (states|expressions)|fuel": "it is too complex: its regular expressions have too "
    "many states",
}
_MAX_MASK_THREADS = 8
#: Of processor time, for all tokens of an answer. One takes some microseconds, and a grammar that
#: can be read in ever more ways takes ever longer.
_MAX_SECONDS_TO_ACCEPT = 1.0


class LLGuidanceBackend:
    """A GrammarBackend."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self._tokenizer = LLTokenizer(_Vocabulary(tokens))
        self._executor = LLExecutor(num_threads=_mask_threads())

    @staticmethod
    def check(source: GrammarSource) -> None:
        """See GrammarBackend: compiles it, and begins an answer, for a vocabulary of bytes."""
        with_deep_stack(lambda: _check(source))

    def compile(self, source: GrammarSource) -> LLGuidanceGrammar:
        """See GrammarBackend."""
        return LLGuidanceGrammar(with_deep_stack(lambda: _begin(self._tokenizer, source)))

    def mask(self, matchers: Sequence[LLGuidanceMatcher]) -> BatchMask:
        """See GrammarBackend. Without the GIL, and in several threads."""
        inner = [matcher.inner for matcher in matchers]
        bitmask = allocate_token_bitmask(len(inner), self._tokenizer.vocab_size)
        rows = list(zip(inner, range(len(inner)), strict=True))
        fill_next_token_bitmask_par(self._executor, rows, bitmask)
        return BatchMask(bitmask, [_error(matcher) for matcher in inner])


class LLGuidanceGrammar:
    """A Grammar. What its matchers learn of its lexemes, they share."""

    def __init__(self, start: LLMatcher) -> None:
        self._start = start

    def matcher(self) -> LLGuidanceMatcher:
        """See Grammar."""
        return LLGuidanceMatcher(self._start.deep_copy())


class LLGuidanceMatcher:
    """A GrammarMatcher. inner: the library's."""

    def __init__(self, inner: LLMatcher) -> None:
        self.inner = inner
        self._seconds = 0.0

    def accept(self, token_id: int) -> bool:
        """See GrammarMatcher."""
        start = time.thread_time()
        accepted = self.inner.try_consume_tokens([token_id]) == 1
        self._seconds += time.thread_time() - start
        _raise_error(self.inner)
        if self._seconds > _MAX_SECONDS_TO_ACCEPT:
            raise GrammarError("it is too complex: the answer can be read in too many ways")
        return accepted

    @property
    def may_end(self) -> bool:
        """See GrammarMatcher."""
        return self.inner.is_accepting()

    @property
    def has_ended(self) -> bool:
        """See GrammarMatcher."""
        return self.inner.is_stopped() and not self.inner.is_error()


class _Vocabulary(TokenizerWrapper):
    """What LLTokenizer reads: the tokens, and behind them one that ends texts, which no model has.
    Nothing is ever tokenised."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self.tokens = [*tokens, b"end"]
        self.eos_token_id = len(tokens)
        self.special_token_ids = [len(tokens)]

    def __call__(self, text: str) -> list[int]:
        raise AssertionError("tokens are not forced")


@cache
def _byte_tokenizer() -> LLTokenizer:
    return LLTokenizer(_Vocabulary([bytes([byte]) for byte in range(256)]))


def _check(source: GrammarSource) -> None:
    to_lark(source)  # which names the place itself
    try:
        _try(source)
    except GrammarError as error:
        if source.kind != "json":
            raise
        place = place_of(str(error), source.text, _try)
        raise GrammarError(f"{error}, at {place}") from error


def _try(source: GrammarSource) -> None:
    _begin(_byte_tokenizer(), source)


def _begin(tokenizer: LLTokenizer, source: GrammarSource) -> LLMatcher:
    """A matcher of which it is known that masks can be had, to the first choice that there is."""
    start = LLMatcher(tokenizer, to_lark(source), log_level=0, limits=_LIMITS)
    _raise_error(start)
    for warning in start.get_grammar_warnings():
        raise GrammarError(_shortened(warning))
    trial = start.deep_copy()
    forced = trial.compute_ff_bytes().decode(errors="ignore")
    trial.try_consume_tokens(tokenizer.greedy_tokenize(forced))
    trial.compute_bitmask()
    if "NoExtension" in trial.get_error():
        raise GrammarError("no text has this form")
    _raise_error(trial)
    return start


def _error(matcher: LLMatcher) -> GrammarError | None:
    return GrammarError(_shortened(matcher.get_error())) if matcher.is_error() else None


def _raise_error(matcher: LLMatcher) -> None:
    error = _error(matcher)
    if error is not None:
        raise error


def _mask_threads() -> int:
    """Half of the processors, as the model computes meanwhile, and no more than help."""
    return max(1, min(_MAX_MASK_THREADS, len(os.sched_getaffinity(0)) // 2))


def _shortened(error: str) -> str:
    first, *others = error.splitlines()
    for line in others:
        if line.startswith(_REGEX_ERROR):
            return f"invalid regular expression: {line.removeprefix(_REGEX_ERROR)}"
    for pattern, reason in _REWORDED.items():
        if re.search(pattern, first):
            return reason
    return _PLACE.sub("", first)[:_ERROR_LENGTH]
