"""Forward passes of several samples through one model, side by side, a block at a time.

A pass is transformers' own, from inputs to outputs, so that positions, masks and features of
images are right for any model. It runs on a stack of its own (a greenlet) and stops wherever it
comes to a decoder block, whose output it is then handed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from greenlet import GreenletExit, getcurrent, greenlet
from torch import nn

from ...core.protocol.config import ConfigError


@dataclass(frozen=True)
class Call:
    """Arguments of a decoder block. index: which block."""

    index: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class ForwardPasses:
    """Of one model with each sample. While they are open, its blocks compute nothing themselves."""

    def __init__(
        self, model: nn.Module, blocks: Sequence[nn.Module], samples: Sequence[Mapping[str, Any]]
    ) -> None:
        for index, block in enumerate(blocks):
            block.forward = _stand_in(index)
        self._passes = [greenlet(partial(model, **sample, use_cache=False)) for sample in samples]
        self._next = 0

    def first_calls(self) -> list[Call]:
        """What each sample asks of the first block."""
        return self._resume([() for _ in self._passes])

    def next_calls(self, outputs: Sequence[Any]) -> list[Call]:
        """What each asks of the next block, given what the last one gave."""
        return self._resume([(output,) for output in outputs])

    def results(self, outputs: Sequence[Any]) -> Iterator[Any]:
        """What the model gives for each, given what the last block gave; one at a time."""
        for each, output in zip(self._passes, outputs, strict=True):
            yield each.switch(output)

    def close(self) -> None:
        """End passes that haven't come to their ends."""
        for each in self._passes:
            each.throw(GreenletExit)

    def _resume(self, values: Sequence[tuple[Any, ...]]) -> list[Call]:
        """Raises ConfigError if a sample doesn't come to the next block."""
        calls = []
        for each, value in zip(self._passes, values, strict=True):
            call = each.switch(*value)
            if not isinstance(call, Call) or call.index != self._next:
                raise ConfigError(
                    "the model doesn't run its decoder blocks one after the other, each once, so "
                    "that they can't be calibrated"
                )
            calls.append(call)
        self._next += 1
        return calls


def _stand_in(index: int) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        return getcurrent().parent.switch(Call(index, args, kwargs))

    return forward


def run_block(block: nn.Module, call: Call) -> Any:
    """What the block itself gives."""
    with torch.no_grad():
        return type(block).forward(block, *call.args, **call.kwargs)
