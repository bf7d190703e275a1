"""Checks that modules compute what their class does, so that a kernel may do it with their weights
instead of calling them."""

from __future__ import annotations

from typing import Any

from torch import nn


def is_known(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether a module is of one of these very classes, as a subclass may compute anything, and is
    called as they are: without hooks, and without a `forward` of its own."""
    return type(module) in kinds and not _is_changed(module)


def declares_weights(layer: nn.Module) -> bool:
    """Whether what a layer's class says of its weights, in a method `weights`, is about its
    `forward`, and not about one that a subclass has replaced since."""
    if _is_changed(layer):
        return False
    forward, weights = (_owner(type(layer), name) for name in ("forward", "weights"))
    return weights is not None and forward is not None and issubclass(weights, forward)


def _owner(kind: type, name: str) -> type | None:
    """The class that a method comes from."""
    return next((base for base in kind.__mro__ if name in vars(base)), None)


def _is_changed(module: Any) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    return "forward" in vars(module) or any(hooks)
