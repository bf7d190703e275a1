"""Hard and soft constraints on the next token: bias, allowed tokens, bad words, min_tokens, and
automata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .sampling_state import SamplingState


def apply_masks(
    logits: Tensor, states: Sequence[SamplingState], eos_token_ids: frozenset[int]
) -> None:
    """Change logits [n, vocab_size] in place, each row by its request's settings."""
    for row, state in enumerate(states):
        allowed = state.params.allowed_token_ids
        if allowed is not None:
            _keep_only(logits[row], allowed)
    _add_biases(logits, states)
    banned = [
        (row, token_id)
        for row, state in enumerate(states)
        for token_id in _banned_tokens(state, eos_token_ids)
    ]
    if banned:
        rows, columns = torch.tensor(banned, device=logits.device).unbind(1)
        logits[rows, columns] = float("-inf")


def apply_automata(
    logits: Tensor, states: Sequence[SamplingState], eos_token_ids: frozenset[int]
) -> None:
    """Leave each row of logits [n, vocab_size] what its request's automaton, if it has one, lets
    follow."""
    for row, state in enumerate(states):
        automaton, place = state.params.token_automaton, state.automaton_state
        if automaton is not None:
            allowed = automaton.tokens_from(place, state.room)
            if automaton.accepts(place):
                allowed += eos_token_ids.union(state.params.stop_token_ids)
            _keep_only(logits[row], allowed)


def _keep_only(logits: Tensor, token_ids: Sequence[int]) -> None:
    """Rule out all others of logits [vocab_size]."""
    index = torch.tensor(token_ids, dtype=torch.long, device=logits.device)
    kept = logits[index]
    logits.fill_(float("-inf"))
    logits[index] = kept


def _add_biases(logits: Tensor, states: Sequence[SamplingState]) -> None:
    rows, columns, values = [], [], []
    for row, state in enumerate(states):
        for token_id, bias in state.params.logit_bias.items():
            rows.append(row)
            columns.append(token_id)
            values.append(bias)
    if rows:
        logits[rows, columns] += torch.tensor(values, dtype=logits.dtype, device=logits.device)


def _banned_tokens(state: SamplingState, eos_token_ids: frozenset[int]) -> Iterator[int]:
    params, output = state.params, state.output_token_ids
    if len(output) < params.min_tokens:
        yield from eos_token_ids
        yield from params.stop_token_ids
    for *start, last in state.bad_word_ids:
        if len(start) <= len(output) and output[len(output) - len(start) :] == start:
            yield last
