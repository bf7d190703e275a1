"""What is gathered of the inputs of a block's linear layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from .forward_passes import Call, run_block


def gather_products(
    block: nn.Module, linears: Mapping[str, nn.Linear], calls: Sequence[Call]
) -> dict[str, Tensor]:
    """For each layer that was run, the sum over tokens of its input's outer product with itself,
    float32 [in, in]. Layers that read one tensor share theirs."""
    products = _Products()
    handles = [layer.register_forward_pre_hook(products.hook(n)) for n, layer in linears.items()]
    try:
        for call in calls:
            run_block(block, call)
    finally:
        for handle in handles:
            handle.remove()
    return products.found


class _Products:
    def __init__(self) -> None:
        self.found: dict[str, Tensor] = {}
        self._leaders: dict[str, str] = {}
        self._last: tuple[str, Tensor | None] = "", None

    def hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda module, args: self._add(name, args[0])

    def _add(self, name: str, inputs: Tensor) -> None:
        leader, last = self._last
        if name not in self._leaders:
            self._leaders[name] = leader if last is inputs else name
        leader = self._leaders[name]
        self._last = leader, inputs
        if leader != name:
            self.found[name] = self.found[leader]
            return
        rows = inputs.flatten(0, -2)
        if name in self.found:
            self.found[name].addmm_(rows.T, rows)
        else:
            self.found[name] = rows.T @ rows
