"""Replacement of a model's linear layers by a quantisation method's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import nn

from ..checkpoints.checkpoint import Checkpoint
from ..contracts.interfaces import (
    LANGUAGE_MODEL,
    OUTPUT_HEAD,
    MultiModalModel,
    OutputHeadModel,
    QuantMethod,
    StoredQuantMethod,
)
from ..contracts.specs import load_object
from ..layers.known_modules import is_known
from ..protocol.config import ConfigError
from ..registry.registry import Registry
from ..system.memory import return_freed_memory

_Substitute = Callable[[str, nn.Linear], nn.Module | None]


def quantization_name(checkpoint: Checkpoint, asked: str | None) -> str | None:
    """The checkpoint's own method, or the one that was asked for; None for neither."""
    stored: str | None = _stored_settings(checkpoint).get("quant_method")
    return stored or asked


def _stored_settings(checkpoint: Checkpoint) -> dict[str, Any]:
    return checkpoint.config.get("quantization_config") or {}


class Quantizer:
    """A method. reserve: its own, for a checkpoint that is quantised with it already."""

    def __init__(self, method: QuantMethod, reserve: _Substitute | None = None) -> None:
        self._method = method
        self._reserve = reserve

    @classmethod
    def choose(
        cls, checkpoint: Checkpoint, registry: Registry, asked: str | None
    ) -> Quantizer | None:
        """The checkpoint's own method, or the one that was asked for; None for neither.

        Raises UnsupportedModelError if no plugin brings it, and ConfigError if there are two or
        the checkpoint's own quantises plain checkpoints only.
        """
        settings = _stored_settings(checkpoint)
        stored = settings.get("quant_method")
        if stored and asked and stored != asked:
            raise ConfigError(
                f"{checkpoint.name} is quantised with {stored} and can't be with {asked} too"
            )
        name = quantization_name(checkpoint, asked)
        if name is None:
            return None
        method: Any = load_object(registry.quant_by_name(name).load)(settings)
        if not stored:
            return cls(method)
        reserve = _reserve_of(method)
        if reserve is None:
            raise ConfigError(
                f"{checkpoint.name} is quantised with {name} already, which the plugin's method "
                "can't read: it quantises plain checkpoints"
            )
        return cls(method, reserve)

    def reserve(self, model: nn.Module) -> None:
        """Before loading: parameters for weights that the checkpoint stores quantised."""
        if self._reserve is not None:
            _replace(model, self._reserve)

    def stored_plain(self, model: nn.Module) -> frozenset[str]:
        """Names of the weights that `quantize_layers` takes as they are stored: converted before,
        all of them would be in memory twice."""
        if self._reserve is not None:
            return frozenset()
        return frozenset(f"{name}.weight" for name in _layer_names(model))

    def quantize_heads(self, model: nn.Module) -> None:
        """After loading: quantise output layers that were stored plain, if the method does that.
        All of their table, which often is the embeddings', is read."""
        if self._reserve is not None or not getattr(self._method, "quantizes_head", False):
            return
        for name, part in list(model.named_modules()):
            if isinstance(part, OutputHeadModel):
                path = f"{name}.{OUTPUT_HEAD}" if name else OUTPUT_HEAD
                head = part.output_head()
                if isinstance(head, nn.Linear) and is_known(head, nn.Linear):
                    replacement = self._method.quantize(path, head)
                    model.set_submodule(path, replacement or head)
        return_freed_memory()

    def quantize_layers(self, model: nn.Module, dtype: torch.dtype) -> None:
        """After loading: quantise the other weights that were stored plain, one by one, as they are
        in the model's dtype."""
        if self._reserve is not None:
            return
        for name in list(_layer_names(model)):
            layer = cast(nn.Linear, model.get_submodule(name)).to(dtype)
            replacement = self._method.quantize(name, layer)
            if replacement is not None:
                model.set_submodule(name, replacement)
            del layer, replacement
            return_freed_memory()


def _reserve_of(method: QuantMethod) -> _Substitute | None:
    """None for a method that reads no quantised checkpoints."""
    if isinstance(method, StoredQuantMethod):
        return method.reserve
    old: _Substitute | None = getattr(method, "prepare", None)
    if old is not None:
        message = f"{type(method).__name__}.prepare: quantisation methods call it `reserve` now"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
    return old


def _replace(model: nn.Module, substitute: _Substitute) -> None:
    for name in list(_layer_names(model)):
        replacement = substitute(name, cast(nn.Linear, model.get_submodule(name)))
        if replacement is not None:
            model.set_submodule(name, replacement)


def _layer_names(model: nn.Module) -> Iterator[str]:
    """Names of the language model's linear layers, without the head. Subclasses stay, as they may
    compute anything."""
    for name, module in model.named_modules():
        parts = name.split(".")
        outside = isinstance(model, MultiModalModel) and LANGUAGE_MODEL not in parts
        if is_known(module, nn.Linear) and not outside and parts[-1] != OUTPUT_HEAD:
            yield name
