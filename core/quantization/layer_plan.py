"""Which rule of a recipe each layer of a model follows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from ..protocol.config import ConfigError
from ..protocol.quantization.recipe import NONE, Recipe, Rule
from .layer_names import LayerNames

#: As many as the linear layers of a usual layer of a decoder.
_SHOWN = 7


@dataclass(frozen=True)
class LayerPlan:
    """Rules of the layers that get a method, by the layers' names: of the output heads, and of all
    others."""

    heads: dict[str, Rule]
    layers: dict[str, Rule]


def plan_layers(recipe: Recipe, names: LayerNames) -> LayerPlan:
    """Of each layer the first rule that matches it. A pattern is matched against a layer's whole
    name, or against what follows a dot in it; outside the language model against the whole name
    alone, whose first part it must begin with.

    Raises ConfigError for a rule that decides nothing, and one with a method for what is no linear
    layer.
    """
    chosen: dict[str, Rule] = {}
    for rule in recipe.rules:
        found = _matched(rule, names)
        new = [name for name in found if name not in chosen]
        chosen |= dict.fromkeys(new, rule)
        if not found:
            _check_others(rule, names)
        elif not new:
            before = ", ".join(dict.fromkeys(str(chosen[name]) for name in found))
            raise ConfigError(
                f"quantization: {rule} has no effect, as {before} before it takes all of its "
                "layers; the first rule that matches a layer decides"
            )
    taken = {name: rule for name, rule in chosen.items() if rule.method != NONE}
    return LayerPlan(
        {name: rule for name, rule in taken.items() if name in names.heads},
        # In the model's order, in which the weights lie in memory.
        {name: taken[name] for name in (*names.inside, *names.outside) if name in taken},
    )


def _matched(rule: Rule, names: LayerNames) -> list[str]:
    inside = [name for name in (*names.inside, *names.heads) if rule.matches(name)]
    return [*inside, *(name for name in names.outside if rule.matches_within(name))]


def _check_others(rule: Rule, names: LayerNames) -> None:
    """Raises ConfigError unless the rule leaves other parts as they are."""
    parts: Iterable[tuple[str, nn.Module]] = names.others.items()
    other = next(((name, part) for name, part in parts if rule.matches(name)), None)
    if other is None:
        shown = ", ".join(_examples(names))
        raise ConfigError(
            f"quantization: {rule.match} matches none of the model's layers, such as {shown}"
        )
    if rule.method != NONE:
        name, part = other
        raise ConfigError(
            f"quantization: {rule}: {name} can't be quantised, as it is no linear layer but "
            f"{type(part).__name__}"
        )


def _examples(names: LayerNames) -> list[str]:
    """Those of a first layer, heads, and one of each part outside."""
    outside = {name.partition(".")[0]: name for name in reversed(names.outside)}
    return [*names.inside[:_SHOWN], *names.heads, *reversed(outside.values())]
