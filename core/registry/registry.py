"""Discovery of plugins, their specs, and the look-up of those that serve a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pkgutil import iter_modules
from typing import Any, Protocol, TypeVar

import pluggy

from ..contracts.specs import (
    CONTRACT_VERSION,
    EncoderSpec,
    EncoderStoreSpec,
    GrammarSpec,
    JsonDict,
    KernelSpec,
    LogitsProcessorSpec,
    ModelSpec,
    QuantSpec,
    ResponseTemplateSpec,
)
from ..protocol.config import ConfigError
from . import hookspecs

logger = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "octavo"
_BUILTIN = "octavo.plugins"


class UnsupportedModelError(ValueError):
    """No installed plugin serves a checkpoint's architecture, text model or vision encoder."""


class PluginConflictError(ValueError):
    """Two plugins register the same thing."""


class _Registered(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def contract_version(self) -> int | None: ...


NestedSpec = TypeVar("NestedSpec", ModelSpec, EncoderSpec)
Spec = TypeVar(
    "Spec",
    ModelSpec,
    EncoderSpec,
    QuantSpec,
    KernelSpec,
    LogitsProcessorSpec,
    ResponseTemplateSpec,
    GrammarSpec,
    EncoderStoreSpec,
)
_KINDS = (
    "models",
    "encoders",
    "quants",
    "kernels",
    "logits_processors",
    "response_templates",
    "grammars",
    "encoder_stores",
)


@dataclass(frozen=True)
class PluginInfo:
    """A plugin that was found. source: distribution and version, or "built-in"."""

    name: str
    source: str
    error: str | None = None


@dataclass
class Registry:
    """Everything that plugins registered, by name, with the plugin each came from."""

    models: dict[str, ModelSpec] = field(default_factory=dict)
    encoders: dict[str, EncoderSpec] = field(default_factory=dict)
    quants: dict[str, QuantSpec] = field(default_factory=dict)
    kernels: dict[str, KernelSpec] = field(default_factory=dict)
    logits_processors: dict[str, LogitsProcessorSpec] = field(default_factory=dict)
    response_templates: dict[str, ResponseTemplateSpec] = field(default_factory=dict)
    grammars: dict[str, GrammarSpec] = field(default_factory=dict)
    encoder_stores: dict[str, EncoderStoreSpec] = field(default_factory=dict)
    owners: dict[tuple[str, str], str] = field(default_factory=dict)
    plugins: list[PluginInfo] = field(default_factory=list)
    hooks: pluggy.PluginManager = field(default_factory=lambda: _plugin_manager())

    def model_for_config(self, config: JsonDict) -> ModelSpec:
        """The model that serves `architectures`. Raises UnsupportedModelError."""
        wanted = tuple(config.get("architectures") or ())
        for spec in self.models.values():
            if set(wanted) & set(spec.architectures):
                return spec
        known = sorted(name for spec in self.models.values() for name in spec.architectures)
        named = ", ".join(wanted) or "no architecture"
        raise UnsupportedModelError(
            f"config.json names {named}, which no installed plugin serves; "
            f"installed architectures: {', '.join(known)}"
        )

    def text_model_for_config(self, config: JsonDict) -> ModelSpec:
        """The model that serves a nested text config. Raises UnsupportedModelError."""
        return _serving_type("text", config, list(self.models.values()))

    def encoder_for_config(self, config: JsonDict) -> EncoderSpec:
        """The encoder that serves a `vision_config`. Raises UnsupportedModelError."""
        return _serving_type("vision", config, list(self.encoders.values()))

    def origin_of(self, spec: ModelSpec) -> str:
        """Plugin and version that a model's code comes from."""
        owner = self.owners.get(("models", spec.name), spec.name)
        sources = {plugin.name: plugin.source for plugin in self.plugins}
        return f"{owner} ({sources.get(owner, 'transformers')})"

    def brought_by(self, plugin: str) -> list[str]:
        """What a plugin registered, such as "model llama: LlamaForCausalLM"."""
        found = []
        for (kind, name), owner in self.owners.items():
            if owner == plugin:
                spec = getattr(self, kind)[name]
                served = getattr(spec, "architectures", ()) or getattr(spec, "model_types", ())
                found.append(f"{kind[:-1]} {name}" + (f": {', '.join(served)}" if served else ""))
        return found

    def quant_by_name(self, name: str) -> QuantSpec:
        """The quantisation method of this name. Raises UnsupportedModelError."""
        if name not in self.quants:
            known = ", ".join(sorted(self.quants)) or "none"
            raise UnsupportedModelError(
                f"no installed plugin brings the quantisation method {name!r}; installed: {known}"
            )
        return self.quants[name]

    def grammar_by_name(self, name: str) -> GrammarSpec:
        """The grammar backend of this name. Raises ConfigError."""
        if name not in self.grammars:
            known = ", ".join(sorted(self.grammars)) or "none"
            raise ConfigError(
                f"no installed plugin brings the structured outputs backend {name!r}; "
                f"installed: {known}"
            )
        return self.grammars[name]


def _serving_type(kind: str, config: JsonDict, specs: list[NestedSpec]) -> NestedSpec:
    model_type = config.get("model_type")
    for spec in specs:
        if model_type in spec.model_types:
            return spec
    known = sorted(name for spec in specs for name in spec.model_types)
    raise UnsupportedModelError(
        f"{kind}_config.model_type is {model_type!r}, which no installed plugin serves; "
        f"installed: {', '.join(known)}"
    )


def load_registry(entries: Sequence[EntryPoint]) -> Registry:
    """Import each plugin and collect its specs; a broken one is refused by name and skipped."""
    registry = Registry()
    for entry in entries:
        source = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "built-in"
        error = _load_plugin(entry, registry)
        if error is not None:
            logger.error("plugin %s (%s) is refused: %s", entry.name, source, error)
        registry.plugins.append(PluginInfo(entry.name, source, error))
    return registry


def _load_plugin(entry: EntryPoint, registry: Registry) -> str | None:
    """Add one plugin's specs to the registry, all or none; returns why it was refused."""
    try:
        module = entry.load()
        found = _collect(entry.name, module)
        _check_specs(entry.name, found, registry)
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything; the rest must load
        return f"{type(error).__name__}: {error}"
    registry.hooks.register(module, entry.name)
    for kind, spec in found:
        getattr(registry, kind)[spec.name] = spec
        registry.owners[kind, spec.name] = entry.name
    return None


def _plugin_manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT_NAME)
    manager.add_hookspecs(hookspecs)
    return manager


def _collect(name: str, module: object) -> list[tuple[str, Any]]:
    """Call the register hooks of one plugin through pluggy, which checks their signatures."""
    manager = _plugin_manager()
    manager.register(module, name)
    manager.check_pending()
    found: list[tuple[str, Any]] = []

    def collector(kind: str, expected: type[Spec]) -> Callable[[Spec], None]:
        def register(spec: Spec) -> None:
            if not isinstance(spec, expected):
                raise TypeError(f"registered {spec!r} where a {expected.__name__} belongs")
            found.append((kind, spec))

        return register

    manager.hook.octavo_register_models(register=collector("models", ModelSpec))
    manager.hook.octavo_register_encoders(register=collector("encoders", EncoderSpec))
    manager.hook.octavo_register_quant(register=collector("quants", QuantSpec))
    manager.hook.octavo_register_kernels(register=collector("kernels", KernelSpec))
    manager.hook.octavo_register_logits_processors(
        register=collector("logits_processors", LogitsProcessorSpec)
    )
    manager.hook.octavo_register_response_templates(
        register=collector("response_templates", ResponseTemplateSpec)
    )
    manager.hook.octavo_register_grammars(register=collector("grammars", GrammarSpec))
    manager.hook.octavo_register_encoder_stores(
        register=collector("encoder_stores", EncoderStoreSpec)
    )
    return found


def _check_specs(plugin: str, found: Sequence[tuple[str, _Registered]], registry: Registry) -> None:
    claims = {
        claim: registry.owners[kind, name]
        for kind in _KINDS
        for name, spec in getattr(registry, kind).items()
        for claim in _claims(kind, spec)
    }
    for kind, spec in found:
        if spec.contract_version is None:
            raise ValueError(
                f"{spec.name} names no contract version; if it is written for this Octavo's, add "
                f"contract_version={CONTRACT_VERSION} to its {type(spec).__name__}"
            )
        version = spec.contract_version
        if version != CONTRACT_VERSION:
            raise ValueError(
                f"{spec.name} is written for contract version {version}; "
                f"this Octavo speaks {CONTRACT_VERSION}"
            )
        for claim in _claims(kind, spec):
            if claim in claims:
                raise PluginConflictError(
                    f"{claim} is registered by both {claims[claim]!r} and {plugin!r}; "
                    "uninstall one of them"
                )
            claims[claim] = plugin


def _claims(kind: str, spec: Any) -> list[str]:
    """Names that only one spec may claim."""
    return [
        f"{kind}: {spec.name}",
        *(f"architecture {name}" for name in getattr(spec, "architectures", ())),
        *(f"{kind}: model_type {name}" for name in getattr(spec, "model_types", ())),
        *(f"{kind}: {scheme}://" for scheme in getattr(spec, "schemes", ())),
    ]


def _builtin_names() -> list[str]:
    """Such as "models.llama": the packages in the folder of each kind."""
    folder = str(files(_BUILTIN))
    kinds = [module.name for module in iter_modules([folder])]
    return [f"{kind}.{m.name}" for kind in kinds for m in iter_modules([f"{folder}/{kind}"])]


def find_entry_points() -> list[EntryPoint]:
    """The built-ins, then every installed package's entry points in the group `octavo`."""
    builtins = [
        EntryPoint(name=name, value=f"{_BUILTIN}.{name}", group=ENTRY_POINT_GROUP)
        for name in _builtin_names()
    ]
    return [*builtins, *sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name)]


@cache
def get_registry() -> Registry:
    """The process's registry, loaded on first use and not changed after."""
    return load_registry(find_entry_points())
