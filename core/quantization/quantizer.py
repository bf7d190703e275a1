"""Replacement of a model's linear layers by quantisation methods'."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...kernels.ops import QuantizedWeight
from ..checkpoints.checkpoint import Checkpoint
from ..contracts.interfaces import (
    FinishingQuantMethod,
    LanguageModel,
    ReadingQuantMethod,
    StoredQuantMethod,
)
from ..contracts.specs import load_object
from ..layers.known_modules import is_known
from ..layers.quantized_linear import linear_weight
from ..layers.stored.quantized_embedding import QuantizedEmbedding
from ..protocol.config import ConfigError
from ..protocol.quantization.recipe import Recipe, Rule
from ..protocol.runtime_facts import WeightGroup
from ..registry.registry import Registry, UnsupportedModelError
from ..system.memory import return_freed_memory
from .layer_names import LayerNames, layer_names
from .layer_plan import LayerPlan, plan_layers
from .weight_groups import weight_groups

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
    """What is done to a model as it is loaded, in the order of the methods here. name: of the
    checkpoint's own method, or the recipe that was asked for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._names = LayerNames((), (), (), (), {})

    @staticmethod
    def choose(checkpoint: Checkpoint, registry: Registry, asked: str | None) -> Quantizer | None:
        """The checkpoint's own method, or those of the recipe that was asked for; None for neither.

        Raises UnsupportedModelError if no plugin brings one, and ConfigError if there are both, the
        checkpoint's own quantises plain checkpoints only, or a method refuses its settings.
        """
        settings = checkpoint.quantization_config
        stored = settings.get("quant_method")
        if stored and asked and stored != asked:
            raise ConfigError(
                f"{checkpoint.name} is quantised with {stored} and can't be with {asked} too"
            )
        if stored:
            make: Any = load_object(registry.quant_by_name(stored).load)
            with _blamed(stored, checkpoint.name):
                return _StoredLayers(stored, make(settings), checkpoint)
        if asked is None:
            return None
        recipe = Recipe.of(asked)
        methods = {name: _method(name, checkpoint, registry) for name in recipe.methods}
        substitutes = {_head_substitute(method) for method in methods.values()}
        for substitute in substitutes - {"", *methods}:
            methods[substitute] = _method(substitute, checkpoint, registry)
        return _PlannedLayers(recipe, methods)

    def reserve(self, model: nn.Module) -> None:
        """Before loading: decide which layers get what, and make places for weights that the
        checkpoint stores quantised. Raises ConfigError for rules that fit no layer."""
        self._names = layer_names(model)

    def read(self, weights: Iterable[tuple[str, Tensor]]) -> Iterable[tuple[str, Tensor]]:
        """The weights to load, of those of the checkpoint."""
        return weights

    def finish(self, model: nn.Module) -> None:
        """After loading: the layers of what was reserved, one by one."""

    def as_stored(self, model: nn.Module) -> frozenset[str]:
        """Names of the weights that are wanted as they are stored."""
        raise NotImplementedError

    def quantize_heads(self, model: nn.Module) -> None:
        """After loading: quantise output layers that were stored plain, if a method does that. All
        of their table, which often is the embeddings', is read."""

    def quantize_layers(self, model: nn.Module, dtype: torch.dtype) -> None:
        """After loading: quantise the other weights that were stored plain, one by one, as they are
        in the model's dtype."""

    def outside(self) -> tuple[str, ...]:
        """Names of layers outside the language model that were quantised."""
        return ()

    def groups(self, model: nn.Module) -> list[WeightGroup]:
        """What the layers are stored as, before they are packed for kernels."""
        return weight_groups(model, self._names)


class _StoredLayers(Quantizer):
    """A method whose layers a checkpoint stores."""

    def __init__(self, name: str, method: Any, checkpoint: Checkpoint) -> None:
        super().__init__(name)
        self._method = method
        self._checkpoint = checkpoint
        self._reserved: list[str] = []
        reserve = _reserve_of(method)
        if reserve is None:
            raise ConfigError(
                f"{checkpoint.name} is quantised with {name} already, which the plugin's method "
                "can't read: it quantises plain checkpoints"
            )
        self._reserve = reserve

    def reserve(self, model: nn.Module) -> None:
        """See Quantizer."""
        super().reserve(model)
        for name, layer in self._offered(model).items():
            with _blamed(self.name, name):
                replacement = self._reserve(name, layer)
            if replacement is not None:
                model.set_submodule(name, replacement)
                self._reserved.append(name)

    def read(self, weights: Iterable[tuple[str, Tensor]]) -> Iterable[tuple[str, Tensor]]:
        """See Quantizer."""
        if not isinstance(self._method, ReadingQuantMethod):
            return weights
        return self._read(self._method, weights)

    def _read(
        self, method: ReadingQuantMethod, weights: Iterable[tuple[str, Tensor]]
    ) -> Iterator[tuple[str, Tensor]]:
        with _blamed(self.name, self._checkpoint.name):
            yield from method.read(set(self._checkpoint.weight_names()), weights)

    def finish(self, model: nn.Module) -> None:
        """See Quantizer."""
        if not isinstance(self._method, FinishingQuantMethod):
            return
        for name in self._reserved:
            with _blamed(self.name, name):
                layer = self._method.finish(name, model.get_submodule(name))
                if name in self._names.tables:
                    layer = _as_table(layer)
                model.set_submodule(name, layer)
            return_freed_memory()

    def _offered(self, model: nn.Module) -> dict[str, nn.Linear]:
        """By name what the method may reserve."""
        marker = getattr(self._method, "marker", None)
        if marker is not None:
            return self._marked(model, f".{marker}")
        layers = {name: cast(nn.Linear, model.get_submodule(name)) for name in self._names.inside}
        if not getattr(self._method, "reads_tables", False):
            return layers
        modules = dict(model.named_modules())
        for name in self._names.heads:
            if name in modules and is_known(modules[name], nn.Linear):
                layers[name] = cast(nn.Linear, modules[name])
        for name in self._names.tables:
            rows, width = cast(nn.Embedding, modules[name]).weight.shape
            layers[name] = nn.Linear(width, rows, bias=False)
        return layers

    def _marked(self, model: nn.Module, ending: str) -> dict[str, nn.Linear]:
        """The linear layers that the checkpoint has a tensor of, whose name ends so."""
        marked: set[str] = set()
        for name in self._checkpoint.weight_names():
            if name.endswith(ending):
                place = cast(LanguageModel, model).map_weight(name)
                marked |= {place} if isinstance(place, str) else set(place or ())
        return {
            name: cast(nn.Linear, module)
            for name, module in model.named_modules()
            if f"{name}{ending}" in marked and is_known(module, nn.Linear)
        }

    def as_stored(self, model: nn.Module) -> frozenset[str]:
        """What the method reserved."""
        return frozenset(
            f"{name}.{buffer}"
            for name in self._reserved
            for buffer, _ in model.get_submodule(name).named_buffers()
        )

    def outside(self) -> tuple[str, ...]:
        """See Quantizer."""
        return tuple(name for name in self._names.outside if name in self._reserved)


class _PlannedLayers(Quantizer):
    """Methods that a recipe names, by their names."""

    def __init__(self, recipe: Recipe, methods: Mapping[str, Any]) -> None:
        super().__init__(str(recipe))
        self._recipe = recipe
        self._methods = methods
        self._plan = LayerPlan({}, {})

    def reserve(self, model: nn.Module) -> None:
        """See Quantizer."""
        super().reserve(model)
        self._plan = plan_layers(self._recipe, self._names)
        for name, rule in self._plan.heads.items():
            if rule.names_layer and self._head_method(rule) is None:
                raise ConfigError(
                    f"quantization: {rule}: the method {rule.method} doesn't take {name}, the "
                    "model's output head"
                )

    def as_stored(self, model: nn.Module) -> frozenset[str]:
        """What `quantize_layers` takes, as all of them would be in memory twice if they were
        converted before."""
        return frozenset(f"{name}.weight" for name in self._plan.layers)

    def quantize_heads(self, model: nn.Module) -> None:
        """See Quantizer."""
        for name, rule in self._plan.heads.items():
            method = self._head_method(rule)
            if method is not None:
                owner: Any = model.get_submodule(name.rpartition(".")[0])
                head = owner.output_head()
                if is_known(head, nn.Linear):
                    self._replace(model, name, method, head)
        return_freed_memory()

    def quantize_layers(self, model: nn.Module, dtype: torch.dtype) -> None:
        """See Quantizer."""
        for name, rule in self._plan.layers.items():
            layer = cast(nn.Linear, model.get_submodule(name)).to(dtype)
            self._replace(model, name, rule.method, layer)
            del layer
            return_freed_memory()

    def outside(self) -> tuple[str, ...]:
        """See Quantizer."""
        return tuple(name for name in self._names.outside if name in self._plan.layers)

    def _head_method(self, rule: Rule) -> str | None:
        """The one that an output head gets; None if it stays, as methods need not take heads."""
        method = self._methods[rule.method]
        if not getattr(method, "quantizes_head", False):
            return None
        return (not rule.names_layer and _head_substitute(method)) or rule.method

    def _replace(self, model: nn.Module, name: str, method: str, layer: nn.Linear) -> None:
        with _blamed(method, name):
            replacement = self._methods[method].quantize(name, layer)
        model.set_submodule(name, replacement or layer)


def _method(name: str, checkpoint: Checkpoint, registry: Registry) -> Any:
    """One that quantises plain checkpoints. Raises as `Quantizer.choose` does."""
    make: Any = load_object(registry.quant_by_name(name).load)
    if not _quantises_plain(make):
        raise ConfigError(
            f"{checkpoint.name} isn't quantised with {name}, which reads checkpoints that are"
        )
    with _blamed(name, checkpoint.name):
        return make({})


def _as_table(layer: nn.Module) -> nn.Module:
    """A table of embeddings of a layer's weight. Raises ValueError if it isn't quantised."""
    weight = linear_weight(layer)
    if weight is None or not isinstance(weight.weight, QuantizedWeight):
        raise ValueError(f"a table of embeddings can't be made of {type(layer).__name__}")
    return QuantizedEmbedding(weight.weight)


def _head_substitute(method: Any) -> str:
    """The method that output heads get instead, unless a rule names them; "" for none."""
    offered: bool | str = getattr(method, "quantizes_head", False)
    return offered if isinstance(offered, str) else ""


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
