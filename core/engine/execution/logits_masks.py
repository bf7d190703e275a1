"""Hard and soft constraints on the next token: bias, allowed tokens, bad words, min_tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..scheduling.request import Request


def apply_masks(logits: Tensor, requests: Sequence[Request], eos_token_ids: frozenset[int]) -> None:
    """Change logits [n, vocab_size] in place, each row by its request's settings."""
    for row, request in enumerate(requests):
        allowed = request.sampling_params.allowed_token_ids
        if allowed is not None:
            index = torch.tensor(allowed, device=logits.device)
            kept = logits[row, index]
            logits[row] = float("-inf")
            logits[row, index] = kept
    _add_biases(logits, requests)
    banned = [
        (row, token_id)
        for row, request in enumerate(requests)
        for token_id in _banned_tokens(request, eos_token_ids)
    ]
    if banned:
        rows, columns = torch.tensor(banned, device=logits.device).unbind(1)
        logits[rows, columns] = float("-inf")


def has_masks(request: Request) -> bool:
    """Whether `apply_masks` could change the request's row at any step; below min_tokens it
    always does."""
    params = request.sampling_params
    return bool(params.allowed_token_ids is not None or params.logit_bias or request.bad_word_ids)


def _add_biases(logits: Tensor, requests: Sequence[Request]) -> None:
    rows, columns, values = [], [], []
    for row, request in enumerate(requests):
        for token_id, bias in request.sampling_params.logit_bias.items():
            rows.append(row)
            columns.append(token_id)
            values.append(bias)
    if rows:
        logits[rows, columns] += torch.tensor(values, dtype=logits.dtype, device=logits.device)


def _banned_tokens(request: Request, eos_token_ids: frozenset[int]) -> Iterator[int]:
    params = request.sampling_params
    if request.num_output_tokens < params.min_tokens:
        yield from eos_token_ids
        yield from params.stop_token_ids
    output = request.token_ids[request.num_prompt_tokens :] if request.bad_word_ids else []
    for *start, last in request.bad_word_ids:
        if len(start) <= len(output) and output[len(output) - len(start) :] == start:
            yield last
