"""Where in a block factors of a layer's inputs can be folded into what makes those inputs.

Nothing is known of architectures: whatever runs before a layer and has outputs of that number is
tried, and taken if the block computes the same with random factors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..forward_passes import Call, run_block
from ..inputs import layers_by_input

#: What may be left of the change that the factors make without what they are folded into. All else
#: that a wrong place leaves is near to all of it.
_LEFT = 1e-3


@dataclass(frozen=True)
class Fold:
    """readers: names of linear layers that read one tensor. producer: of what makes it, a norm or a
    linear layer. rows: [in], the output of that which each input is. offset: what is added to the
    producer's weight before it is multiplied, as 1 is in Gemma's norms."""

    readers: Sequence[str]
    producer: str
    rows: Tensor
    offset: float = 0.0

    def apply(self, block: nn.Module, factors: Tensor, dtype: torch.dtype | None) -> Tensor:
        """Multiply the readers' weights and divide the producer's.

        factors: [in], the same for inputs that are the same. dtype: of a norm's numbers as they
        will be stored; None for those of the block. Returns the factors that were used, so that
        the product of a norm and a reader stays what it was although the norm's numbers are
        rounded. A bias is rounded, too, without that.
        """
        made = dict(block.get_submodule(self.producer).named_parameters(recurse=False))
        weight = made["weight"]
        outputs = torch.ones(len(weight))
        outputs[self.rows] = factors
        if weight.dim() == 1:
            before = weight.data + self.offset
            weight.data = before / outputs - self.offset
            if dtype is not None:
                weight.data = weight.data.to(dtype).float()
            used = before / (weight.data + self.offset)
            # An output that is always 0 may have any.
            outputs = torch.where(used.isfinite() & (used != 0), used, 1.0)
        else:
            weight.data = weight.data / outputs[:, None]
        if "bias" in made:
            made["bias"].data = made["bias"].data / outputs
        self.multiply_readers(block, outputs[self.rows])
        return outputs[self.rows]

    def multiply_readers(self, block: nn.Module, factors: Tensor) -> None:
        """Their weights' columns alone."""
        for name in self.readers:
            weight = block.get_parameter(f"{name}.weight")
            weight.data = weight.data * factors


def find_folds(
    block: nn.Module, linears: Mapping[str, nn.Linear], head_dim: int, call: Call
) -> list[Fold]:
    """At most one for each layer, in the order in which layers are run. call: of the block, in
    float32. Weights are as before afterwards."""
    runs = _Runs(block, linears, call)
    output = _hidden(run_block(block, call))
    found = []
    for readers in layers_by_input(block, linears, call):
        for fold in runs.candidates(readers, head_dim):
            if _holds(block, fold, call, output):
                found.append(fold)
                break
    return found


class _Runs:
    """What ran in a block, in its order."""

    def __init__(self, block: nn.Module, linears: Mapping[str, nn.Linear], call: Call) -> None:
        self._linears = linears
        self._order: list[str] = []
        self._inputs: dict[str, Tensor] = {}
        self._norms: list[tuple[str, nn.Module, Tensor]] = []

        def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
            return lambda module, args, output: self._note(name, module, args, output)

        handles = [
            part.register_forward_hook(hook(name))
            for name, part in block.named_modules()
            if isinstance(getattr(part, "weight", None), Tensor)
        ]
        try:
            run_block(block, call)
        finally:
            for handle in handles:
                handle.remove()

    def _note(self, name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if name in self._linears:
            self._order.append(name)
            self._inputs[name] = args[0]
        elif isinstance(output, Tensor) and module.weight.shape == output.shape[-1:]:
            self._norms.append((name, module, output))

    def candidates(self, readers: Sequence[str], head_dim: int) -> Iterator[Fold]:
        """The norm that made the input, or the linear layers that ran before, the latest first."""
        inputs = self._inputs[readers[0]]
        width = inputs.shape[-1]
        for name, _, output in self._norms:
            if output is inputs:
                for offset in (0.0, 1.0):
                    yield Fold(readers, name, torch.arange(width), offset)
        before = self._order[: self._order.index(readers[0])]
        for name in reversed(before):
            for rows in _possible_rows(self._linears[name].out_features, width, head_dim):
                yield Fold(readers, name, rows)


def _possible_rows(outputs: int, width: int, head_dim: int) -> Iterator[Tensor]:
    """Which of a layer's outputs may be the inputs of another of this width, but for functions of
    each and products with others."""
    if outputs == width:
        yield torch.arange(width)
    if outputs > width:
        # Of layers that were fused, the last (up after gate, values after queries and keys), or
        # the first.
        yield torch.arange(outputs - width, outputs)
        yield torch.arange(width)
    # Heads of values, each of which several heads of queries share; alone, or after those of
    # queries and keys.
    for start, size in ((0, outputs), (outputs - (outputs - width) // 2, (outputs - width) // 2)):
        if head_dim and 0 < size < width and size % head_dim == 0 and width % size == 0:
            heads = torch.arange(size // head_dim).repeat_interleave(width // size)
            yield start + (heads[:, None] * head_dim + torch.arange(head_dim)).flatten()


def _holds(block: nn.Module, fold: Fold, call: Call, output: Tensor) -> bool:
    """Whether random factors change nothing. output: the block's without."""
    generator = torch.Generator().manual_seed(0)
    factors = 0.5 + 1.5 * torch.rand(int(fold.rows.max()) + 1, generator=generator)
    with _restored(block):
        fold.apply(block, factors[fold.rows], None)
        left = (_hidden(run_block(block, call)) - output).norm()
    with _restored(block):
        fold.multiply_readers(block, factors[fold.rows])
        whole = (_hidden(run_block(block, call)) - output).norm()
    return bool(left <= _LEFT * whole and whole > 0)


@contextmanager
def _restored(block: nn.Module) -> Iterator[None]:
    held = {parameter: parameter.data for parameter in block.parameters()}
    try:
        yield
    finally:
        for parameter, data in held.items():
            parameter.data = data


def _hidden(output: Any) -> Tensor:
    hidden: Tensor = output if isinstance(output, Tensor) else output[0]
    return hidden
