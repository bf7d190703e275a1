"""Where answers are in their grammars, and masks of what may follow, made beside the forward."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....contracts.grammars import GrammarError
from .compiler import CompiledGrammar


class GrammarState:
    """Of one answer. end_token_ids: those that end it, which the grammar knows nothing of.

    error: why the grammar can't be followed any further. has_ended: whether nothing can follow what
    was accepted. banned: what can't follow, [vocab_size], bool.
    """

    def __init__(self, compiled: CompiledGrammar, end_token_ids: Collection[int]) -> None:
        self.backend = compiled.backend
        self.matcher = compiled.grammar.matcher()
        self.error: str | None = None
        self.has_ended = False
        self.pending: Future[None] | None = None
        self._vocabulary = compiled.vocabulary
        size = compiled.vocabulary.size
        self._end_token_ids = sorted(i for i in end_token_ids if i < size)
        self._begun = False
        self.banned = torch.empty(0, dtype=torch.bool)

    def accept(self, token_id: int) -> None:
        """A token was sampled."""
        if token_id in self._end_token_ids:
            return
        first = self._vocabulary.first
        known = token_id if self._begun or first is None else int(first[token_id])
        self._begun = True
        try:
            if not self.matcher.accept(known):
                self.error = f"its grammar doesn't take token {token_id}"
            self.has_ended = self.error is None and self.matcher.has_ended
        except Exception as error:  # noqa: BLE001 - plugin code
            self.error = str(error)

    def take_mask(self, allowed: NDArray[np.bool_]) -> None:
        """What the matcher lets follow, [at least num_tokens]. Raises GrammarError."""
        if len(allowed) < len(self._vocabulary.tokens):
            raise GrammarError(f"a mask of {len(allowed)} tokens is too small")
        first = self._vocabulary.first
        if self._begun or first is None:
            allowed = allowed[: self._vocabulary.size]
        else:
            allowed = allowed[first]
        banned = ~allowed
        banned[self._end_token_ids] = not self.matcher.may_end
        self.banned = torch.from_numpy(banned)


def apply_grammars(logits: Tensor, states: Sequence[GrammarState | None]) -> dict[int, str]:
    """Rule out in logits [n, vocab_size] what each row's grammar, if it has one, doesn't let
    follow. Returns why a row's can't be followed any further, by row."""
    errors, masked, banned = dict[int, str](), list[int](), list[Tensor]()
    for row, state in enumerate(states):
        if state is not None and state.error is not None:
            errors[row] = f"structured_outputs can't be followed: {state.error}"
        elif state is not None:
            masked.append(row)
            banned.append(state.banned)
    if len(masked) == len(logits):
        logits.masked_fill_(torch.stack(banned).to(logits.device), float("-inf"))
    elif masked:
        ruled_out = torch.stack(banned).to(logits.device)
        logits[masked] = logits[masked].masked_fill_(ruled_out, float("-inf"))
    return errors


class GrammarMasks:
    """Computes masks in a thread: begun as soon as the tokens before are known, and waited for
    when they are applied."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="octavo-masks")

    def begin(self, states: Sequence[GrammarState]) -> None:
        """Compute the next masks of answers, whose states are left alone until `wait`."""
        states = [state for state in states if state.error is None]
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
        bits = np.unpackbits(found.bitmask.view(np.uint8), axis=1, bitorder="little")
        for state, why, row in zip(states, found.errors, bits.view(np.bool_), strict=True):
            if why is not None:
                state.error = str(why)
            else:
                state.take_mask(row)
    except Exception as error:  # noqa: BLE001 - plugin code
        for state in states:
            state.error = str(error)
