"""Where two answers differ, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

#: How far results may be apart, in standard deviations of the reference's: rounding alone, over
#: many layers and in another order.
TOLERANCES = {torch.float32: 1e-4, torch.float16: 5e-2, torch.bfloat16: 2e-1}


@dataclass(frozen=True)
class Finding:
    """One line of the report. difference: the largest; both in the units of what is compared."""

    check: str
    case: str
    result: Literal["ok", "DIFFERS", "skipped"]
    difference: float | None = None
    tolerance: float | None = None
    note: str = ""


def compare_ids(check: str, case: str, ours: Sequence[int], theirs: Sequence[int]) -> Finding:
    """Token ids must be equal."""
    if list(ours) == list(theirs):
        return Finding(check, case, "ok", note=f"{len(ours)} tokens")
    at = next(
        (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
        min(len(ours), len(theirs)),
    )
    note = f"{len(ours)} tokens for {len(theirs)}, different from number {at} on"
    return Finding(check, case, "DIFFERS", note=note)


def compare_values(
    check: str, case: str, ours: Tensor, theirs: Tensor, tolerance: float
) -> Finding:
    """Values must be within `tolerance` standard deviations of theirs."""
    if ours.shape != theirs.shape:
        note = f"shape {list(ours.shape)} for {list(theirs.shape)}"
        return Finding(check, case, "DIFFERS", note=note)
    allowed = tolerance * theirs.std().item()
    difference = (ours - theirs).abs().max().item()
    # Written so that a NaN differs.
    result: Literal["ok", "DIFFERS"] = "ok" if difference <= allowed else "DIFFERS"
    return Finding(check, case, result, difference, allowed)


def compare_generation(
    case: str,
    ours: Sequence[int],
    our_logprobs: Tensor,
    theirs: Sequence[int],
    their_logits: Tensor,
    tolerance: float,
) -> list[Finding]:
    """Log-probabilities up to the first token that differs, as what follows has other contexts,
    and the tokens. One that differs where the likeliest two are closer than the tolerance is a
    tie. our_logprobs, their_logits: [num_tokens, vocab_size]."""
    their_logprobs = their_logits.log_softmax(-1)
    different = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    compared = different[0] + 1 if different else len(theirs)
    logits = compare_values(
        "logits", case, our_logprobs[:compared], their_logprobs[:compared], tolerance
    )
    if not different:
        return [logits, Finding("tokens", case, "ok", note=f"{len(theirs)} tokens")]
    first, second = their_logits[different[0]].topk(2).values.tolist()
    note = f"from number {different[0]} on; the likeliest two are {first - second:.2g} apart"
    tie = logits.tolerance is not None and first - second <= 2 * logits.tolerance
    result: Literal["ok", "DIFFERS"] = "ok" if tie else "DIFFERS"
    return [logits, Finding("tokens", case, result, note=f"a tie {note}" if tie else note)]
