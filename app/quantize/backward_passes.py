"""Backward passes of several samples through one model, a block at a time.

Of the forward pass, each block's inputs are kept; a block is run again as its gradients are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .forward_passes import Call, run_block


@dataclass(frozen=True)
class Stage:
    """What a block was called with and gave, for each sample. ends: its hidden states, as the
    leaves that gradients are taken at."""

    calls: Sequence[Call]
    outputs: list[Any]
    ends: list[Tensor]


def run_stage(block: nn.Module, calls: Sequence[Call]) -> Stage:
    """Run a block, which later ones are cut off from."""
    stage = Stage(calls, [], [])
    for call in calls:
        output = run_block(block, call)
        end = first_tensor(output).detach().requires_grad_()
        stage.ends.append(end)
        stage.outputs.append(end if isinstance(output, Tensor) else (end, *output[1:]))
    return stage


def between(before: Stage, after: Stage, gradients: Sequence[Tensor]) -> list[Tensor]:
    """The gradients at a block's ends, of those at the next one's inputs: through what a model does
    between two blocks, if anything."""
    return [
        torch.autograd.grad(_hidden(call), end, gradient)[0]
        for call, end, gradient in zip(after.calls, before.ends, gradients, strict=True)
    ]


def block_gradients(
    block: nn.Module, parameters: Sequence[Tensor], call: Call, gradient: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """The gradients at a block's hidden states, and at its parameters. gradient: at its output."""
    start = _hidden(call).detach().requires_grad_()
    changed = _with_hidden(call, start)
    for parameter in parameters:
        parameter.requires_grad_()
    try:
        with torch.enable_grad():
            output = type(block).forward(block, *changed.args, **changed.kwargs)
        own, *others = torch.autograd.grad(
            first_tensor(output), [start, *parameters], gradient, materialize_grads=True
        )
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)
    return own, others


def first_tensor(output: Any) -> Tensor:
    """A block's hidden states, of what it gives."""
    hidden: Tensor = output if isinstance(output, Tensor) else output[0]
    return hidden


def _hidden(call: Call) -> Tensor:
    hidden: Tensor = call.args[0] if call.args else call.kwargs["hidden_states"]
    return hidden


def _with_hidden(call: Call, hidden: Tensor) -> Call:
    if call.args:
        return replace(call, args=(hidden, *call.args[1:]))
    return replace(call, kwargs={**call.kwargs, "hidden_states": hidden})
