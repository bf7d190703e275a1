"""Chooses plugins, tries what each registered, and prints the findings."""

from __future__ import annotations

from collections.abc import Iterator

from ...core.contracts.specs import ResponseTemplateSpec
from ...core.prompts.responses.response_template import ResponseTemplate
from ...core.protocol.config import ConfigError
from ...core.registry.registry import PluginInfo, Registry, get_registry
from ..table import print_table
from .encoders import check_encoder
from .finding import Finding, check_class
from .quants import check_quant

_MODEL = ("map_weight", "embed", "forward", "compute_logits")


def check_and_print(name: str | None) -> bool:
    """Check the plugins of this name or package, or all; whether none failed.

    Raises ConfigError if there is no such plugin.
    """
    registry = get_registry()
    chosen = [p for p in registry.plugins if name in (None, p.name, p.source.split()[0])]
    if not chosen:
        known = ", ".join(plugin.name for plugin in registry.plugins)
        raise ConfigError(f"no plugin or package {name!r} is installed; there are: {known}")
    rows = [("plugin", "subject", "check", "result", "")]
    for plugin in chosen:
        for f in check_plugin(plugin, registry):
            rows.append((plugin.name, f.subject, f.check, f.result, f.note))
    print_table(rows)
    failed = sum(row[3] == "FAILED" for row in rows)
    print(f"\n{len(chosen)} plugins, {len(rows) - 1} checks, {failed} failed")
    return failed == 0


def check_plugin(plugin: PluginInfo, registry: Registry) -> Iterator[Finding]:
    """Whether it was taken, and then everything that it registered."""
    if plugin.error is not None:
        yield Finding("plugin", "registration", "FAILED", f"refused: {plugin.error}")
        return
    yield Finding("plugin", "registration", "ok", "hooks, names and contract version")
    for (kind, name), owner in registry.owners.items():
        if owner == plugin.name:
            yield from _check(kind, name, registry)


def _check(kind: str, name: str, registry: Registry) -> Iterator[Finding]:
    if kind == "encoders":
        yield from check_encoder(registry.encoders[name], registry)
    elif kind == "quants":
        yield from check_quant(registry.quants[name])
    elif kind == "models":
        yield from _check_model(name, registry)
    elif kind == "response_templates":
        yield _check_response_template(registry.response_templates[name])
    elif kind == "grammars":
        methods = ("check", "compile", "mask")
        yield from check_class(f"grammar {name}", "class", registry.grammars[name].load, methods)
    else:
        yield from check_class(
            f"{kind[:-1]} {name}", "import", getattr(registry, kind)[name].load, ()
        )


def _check_response_template(spec: ResponseTemplateSpec) -> Finding:
    subject = f"response template {spec.name}"
    try:
        ResponseTemplate(spec.name, spec.template)
    except ConfigError as error:
        return Finding(subject, "template", "FAILED", str(error))
    if not spec.marks or not all(spec.marks):
        return Finding(subject, "template", "FAILED", "names no marks, and would fit any model")
    return Finding(subject, "template", "ok", "transformers takes it, and its fields are known")


def _check_model(name: str, registry: Registry) -> Iterator[Finding]:
    spec, subject = registry.models[name], f"model {name}"
    methods = (*_MODEL, "encode_images") if spec.image_prompt else _MODEL
    yield from check_class(subject, "class", spec.load, methods)
    if spec.image_prompt is not None:
        yield from check_class(subject, "image prompt", spec.image_prompt, ("expand", "complete"))
    if spec.preprocessor is not None:
        methods = ("num_tokens", "preprocess", "fingerprint", "limited", "among")
        yield from check_class(subject, "preprocessor", spec.preprocessor, methods)
