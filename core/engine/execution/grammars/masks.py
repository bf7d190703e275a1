"""Where answers are in their grammars, and masks of what may follow, made beside the forward."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .....kernels.ops import MaskTokens
from ....contracts.grammars import GrammarError
from ....protocol.messages import Failure, FailureKind
from .compiler import CompiledGrammar


class GrammarState:
    """Of one answer. end_token_ids: those that end it, which the grammar knows nothing of.

    failure: why the grammar can't be followed any further. has_ended: whether nothing can follow
    what was accepted. bitmask: what may follow, [at least vocab_size / 32], as MaskTokens takes it.
    """

    def __init__(self, compiled: CompiledGrammar, end_token_ids: Collection[int]) -> None:
        self.backend = compiled.backend
        self.matcher = compiled.grammar.matcher()
        self.failure: Failure | None = None
        self.has_ended = False
        self.pending: Future[None] | None = None
        self._vocabulary = compiled.vocabulary
        size = compiled.vocabulary.size
        self._end_token_ids = sorted(i for i in end_token_ids if i < size)
        ends = np.zeros(size, dtype=np.bool_)
        ends[self._end_token_ids] = True
        self._end_bits = _pack_bits(ends)
        self._begun = False
        self.bitmask = self._end_bits

    def accept(self, token_id: int) -> None:
        """A token was sampled."""
        if token_id in self._end_token_ids:
            return
        first = self._vocabulary.first
        known = token_id if self._begun or first is None else int(first[token_id])
        self._begun = True
        try:
            if not self.matcher.accept(known):
                raise RuntimeError(f"the grammar doesn't take token {token_id}")
            self.has_ended = self.matcher.has_ended
        except Exception as error:  # noqa: BLE001 - plugin code
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """It can't be followed any further; a GrammarError says that what was asked for is why."""
        kind: FailureKind = "invalid" if isinstance(error, GrammarError) else "failed"
        self.failure = Failure(kind, f"structured_outputs can't be followed: {error}")

    def take_mask(self, allowed: NDArray[np.int32]) -> None:
        """What the matcher lets follow, as a row of a BatchMask. Raises ValueError."""
        if 32 * len(allowed) < len(self._vocabulary.tokens):
            raise ValueError(f"a mask of {len(allowed)} words is too small")
        first = self._vocabulary.first
        if not self._begun and first is not None:
            allowed = _pack_bits(_unpack_bits(allowed)[first])
        words = len(self._end_bits)
        if self.matcher.may_end:
            self.bitmask = allowed[:words] | self._end_bits
        else:
            self.bitmask = allowed[:words] & ~self._end_bits


def apply_grammars(
    logits: Tensor, states: Sequence[GrammarState | None], mask_tokens: MaskTokens
) -> dict[int, Failure]:
    """Rule out in logits [n, vocab_size], in place, what each row's grammar, if it has one,
    doesn't let follow. Returns why a row's can't be followed any further, by row."""
    failures, rows, bitmasks = dict[int, Failure](), list[int](), list[NDArray[np.int32]]()
    for row, state in enumerate(states):
        if state is not None and state.failure is not None:
            failures[row] = state.failure
        elif state is not None:
            rows.append(row)
            bitmasks.append(state.bitmask)
    if rows:
        bitmask = torch.from_numpy(np.stack(bitmasks))
        mask_tokens(logits, *(t.to(logits.device) for t in (torch.tensor(rows), bitmask)))
    return failures


class GrammarMasks:
    """Computes masks in a thread: begun as soon as the tokens before are known, and waited for
    when they are applied."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="octavo-masks")

    def begin(self, states: Sequence[GrammarState]) -> None:
        """Compute the next masks of answers, whose states are left alone until `wait`."""
        states = [state for state in states if state.failure is None]
        if states:
            future = self._thread.submit(_compute, states)
            for state in states:
                state.pending = future

    def wait(self, states: Sequence[GrammarState]) -> None:
        """Until all of their masks are there."""
        for state in states:
            if state.pending is not None:
                state.pending.result()
                state.pending = None

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _compute(states: Sequence[GrammarState]) -> None:
    """All states are of one backend, as an engine has one."""
    try:
        found = states[0].backend.mask([state.matcher for state in states])
        for state, why, row in zip(states, found.errors, found.bitmask, strict=True):
            if why is not None:
                state.fail(why)
            else:
                state.take_mask(row)
    except Exception as error:  # noqa: BLE001 - plugin code
        for state in states:
            state.fail(error)


def _words(num_bits: int) -> int:
    return -(-num_bits // 32)


def _unpack_bits(words: NDArray[np.int32]) -> NDArray[np.bool_]:
    return np.unpackbits(words.view(np.uint8), bitorder="little").view(np.bool_)


def _pack_bits(bits: NDArray[np.bool_]) -> NDArray[np.int32]:
    words = np.zeros(_words(len(bits)), dtype=np.int32)
    packed = np.packbits(bits, bitorder="little")
    words.view(np.uint8)[: len(packed)] = packed
    return words
