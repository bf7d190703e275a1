"""Replacement of a model's linear layers by a quantisation method's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn

from ..checkpoints.checkpoint import Checkpoint
from ..contracts.interfaces import (
    LANGUAGE_MODEL,
    OUTPUT_HEAD,
    FinishingQuantMethod,
    MultiModalModel,
    OutputHeadModel,
    StoredQuantMethod,
)
from ..contracts.specs import load_object
from ..layers.known_modules import is_known
from ..protocol.config import ConfigError
from ..registry.registry import Registry, UnsupportedModelError
from ..system.memory import return_freed_memory

_Reserve = Callable[[str, nn.Linear], nn.Module | None]


def quantization_name(checkpoint: Checkpoint, asked: str | None) -> str | None:
    """The checkpoint's own method, or the one that was asked for; None for neither."""
    stored: str | None = checkpoint.quantization_config.get("quant_method")
    return stored or asked


def plain_methods(registry: Registry) -> list[str]:
    """Names of the installed methods that quantise plain checkpoints."""
    return [n for n, spec in registry.quants.items() if _quantises_plain(load_object(spec.load))]


def _quantises_plain(method: Any) -> bool:
    return hasattr(method, "quantize")


class Quantizer:
    """A method by its name. reserve: its own, for a checkpoint that is quantised with it."""

    def __init__(self, name: str, method: Any, reserve: _Reserve | None = None) -> None:
        self._name = name
        self._method = method
        self._reserve = reserve
        self._reserved: list[str] = []

    @classmethod
    def choose(
        cls, checkpoint: Checkpoint, registry: Registry, asked: str | None
    ) -> Quantizer | None:
        """The checkpoint's own method, or the one that was asked for; None for neither.

        Raises UnsupportedModelError if no plugin brings it, and ConfigError if there are two, the
        checkpoint's own quantises plain checkpoints only, or the method refuses its settings.
        """
        settings = checkpoint.quantization_config
        stored = settings.get("quant_method")
        if stored and asked and stored != asked:
            raise ConfigError(
                f"{checkpoint.name} is quantised with {stored} and can't be with {asked} too"
            )
        name = quantization_name(checkpoint, asked)
        if name is None:
            return None
        make: Any = load_object(registry.quant_by_name(name).load)
        if not stored and not _quantises_plain(make):
            raise ConfigError(
                f"{checkpoint.name} isn't quantised with {name}, which reads checkpoints that are"
            )
        with _blamed(name, checkpoint.name):
            method = make(settings)
        if not stored:
            return cls(name, method)
        reserve = _reserve_of(method)
        if reserve is None:
            raise ConfigError(
                f"{checkpoint.name} is quantised with {name} already, which the plugin's method "
                "can't read: it quantises plain checkpoints"
            )
        return cls(name, method, reserve)

    def reserve(self, model: nn.Module) -> None:
        """Before loading: places for weights that the checkpoint stores quantised."""
        if self._reserve is None:
            return
        for name in list(_layer_names(model)):
            with _blamed(self._name, name):
                replacement = self._reserve(name, cast(nn.Linear, model.get_submodule(name)))
            if replacement is not None:
                model.set_submodule(name, replacement)
                self._reserved.append(name)

    def finish(self, model: nn.Module) -> None:
        """After loading: the layers of what was reserved, one by one."""
        if not isinstance(self._method, FinishingQuantMethod):
            return
        for name in self._reserved:
            with _blamed(self._name, name):
                model.set_submodule(name, self._method.finish(name, model.get_submodule(name)))
            return_freed_memory()

    def as_stored(self, model: nn.Module) -> frozenset[str]:
        """Names of the weights that are wanted as they are stored: what the method reserved, or
        what `quantize_layers` takes, as all of them would be in memory twice if they were converted
        before."""
        if self._reserve is None:
            return frozenset(f"{name}.weight" for name in _layer_names(model))
        return frozenset(
            f"{name}.{buffer}"
            for name in self._reserved
            for buffer, _ in model.get_submodule(name).named_buffers()
        )

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
                    with _blamed(self._name, path):
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
            with _blamed(self._name, name):
                replacement = self._method.quantize(name, layer)
            if replacement is not None:
                model.set_submodule(name, replacement)
            del layer, replacement
            return_freed_memory()


def _reserve_of(method: Any) -> _Reserve | None:
    """None for a method that reads no quantised checkpoints."""
    if isinstance(method, StoredQuantMethod):
        return method.reserve
    old: _Reserve | None = getattr(method, "prepare", None)
    if old is not None:
        message = f"{type(method).__name__}.prepare: quantisation methods call it `reserve` now"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
    return old


@contextmanager
def _blamed(method: str, part: str) -> Iterator[None]:
    """Whatever a plugin's method raises becomes a ConfigError that names it and the layer, or the
    model."""
    try:
        yield
    except (ConfigError, UnsupportedModelError):
        raise
    except Exception as error:
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ConfigError(f"the quantisation method {method} can't take {part}: {said}") from error


def _layer_names(model: nn.Module) -> Iterator[str]:
    """Names of the language model's linear layers, without the head. Subclasses stay, as they may
    compute anything."""
    for name, module in model.named_modules():
        parts = name.split(".")
        outside = isinstance(model, MultiModalModel) and LANGUAGE_MODEL not in parts
        if is_known(module, nn.Linear) and not outside and parts[-1] != OUTPUT_HEAD:
            yield name
