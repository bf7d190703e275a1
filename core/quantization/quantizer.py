"""Puts a quantisation method's layers in place of a model's linear ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

from torch import nn

from ..checkpoints.checkpoint import Checkpoint
from ..contracts.interfaces import MultiModalModel, OutputHeadModel, QuantMethod
from ..contracts.specs import load_object
from ..layers.known_modules import is_known
from ..protocol.config import ConfigError
from ..registry.registry import Registry

_LANGUAGE_MODEL, _HEAD = "language_model", "lm_head"


class Quantizer:
    """A method, and whether the checkpoint is quantised with it already."""

    def __init__(self, method: QuantMethod, stored: bool) -> None:
        self._method = method
        self._stored = stored

    @classmethod
    def choose(
        cls, checkpoint: Checkpoint, registry: Registry, asked: str | None
    ) -> Quantizer | None:
        """The checkpoint's own method, or the one that was asked for; None for neither.

        Raises UnsupportedModelError if no plugin brings it, and ConfigError if there are two.
        """
        settings = checkpoint.config.get("quantization_config") or {}
        stored = settings.get("quant_method")
        if stored and asked and stored != asked:
            raise ConfigError(
                f"{checkpoint.name} is quantised with {stored} and can't be with {asked} too"
            )
        name = stored or asked
        if name is None:
            return None
        load = load_object(registry.quant_by_name(name).load)
        return cls(cast(QuantMethod, load(settings)), stored is not None)

    def prepare(self, model: nn.Module) -> None:
        """Before loading: make room for weights that the checkpoint stores quantised."""
        if self._stored:
            _replace(model, self._method.prepare)

    def quantize(self, model: nn.Module) -> None:
        """After loading: quantise weights that were stored plain, layer by layer."""
        if not self._stored:
            _replace(model, self._method.quantize)
            if getattr(self._method, "quantizes_head", False):
                self._quantize_heads(model)

    def _quantize_heads(self, model: nn.Module) -> None:
        for name, part in list(model.named_modules()):
            if isinstance(part, OutputHeadModel):
                path = f"{name}.{_HEAD}" if name else _HEAD
                head = part.output_head()
                if isinstance(head, nn.Linear) and is_known(head, nn.Linear):
                    replacement = self._method.quantize(path, head)
                    model.set_submodule(path, replacement or head)


def _replace(model: nn.Module, substitute: Callable[[str, nn.Linear], nn.Module | None]) -> None:
    for name in list(_layer_names(model)):
        replacement = substitute(name, cast(nn.Linear, model.get_submodule(name)))
        if replacement is not None:
            model.set_submodule(name, replacement)


def _layer_names(model: nn.Module) -> Iterator[str]:
    """The linear layers of the language model but its head. A subclass may compute anything with
    its weight, and stays."""
    for name, module in model.named_modules():
        parts = name.split(".")
        outside = isinstance(model, MultiModalModel) and _LANGUAGE_MODEL not in parts
        if is_known(module, nn.Linear) and not outside and parts[-1] != _HEAD:
            yield name
