"""What is gathered of the inputs of a block's linear layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from .forward_passes import Call, run_block

#: Is given a layer's name and its input.
Note = Callable[[str, Tensor], None]


def layers_by_input(
    block: nn.Module, linears: Mapping[str, nn.Linear], call: Call
) -> list[list[str]]:
    """Names of those that are run, in the order of the first; together where they read one
    tensor."""
    found: list[tuple[Tensor, list[str]]] = []
    named: set[str] = set()

    def note(name: str, inputs: Tensor) -> None:
        if name in named:
            return
        named.add(name)
        same = next((names for tensor, names in found if tensor is inputs), None)
        if same is None:
            same = []
            found.append((inputs, same))
        same.append(name)

    with noting_inputs(linears, note):
        run_block(block, call)
    return [names for _, names in found]


def gather_products(
    block: nn.Module, linears: Mapping[str, nn.Linear], calls: Sequence[Call]
) -> dict[str, Tensor]:
    """For each layer that was run, the sum over tokens of its input's outer product with itself,
    float32 [in, in]. Layers that read one tensor share theirs."""
    if not calls:
        return {}
    groups = layers_by_input(block, linears, calls[0])
    products: dict[str, Tensor] = {}

    def note(name: str, inputs: Tensor) -> None:
        rows = inputs.flatten(0, -2)
        if name in products:
            products[name].addmm_(rows.T, rows)
        else:
            products[name] = rows.T @ rows

    with noting_inputs({names[0]: linears[names[0]] for names in groups}, note):
        for call in calls:
            run_block(block, call)
    return {name: products[names[0]] for names in groups for name in names}


@contextmanager
def noting_inputs(linears: Mapping[str, nn.Linear], note: Note) -> Iterator[None]:
    """Have each layer's input noted whenever it is run."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda module, args: note(name, args[0])

    handles = [layer.register_forward_pre_hook(hook(name)) for name, layer in linears.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
