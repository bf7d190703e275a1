"""The backend that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from ....core.contracts.grammars import GrammarBackend, GrammarSource
from ....core.contracts.specs import load_object
from ....core.protocol.config import ConfigError, EngineConfig
from ....core.protocol.errors import RequestError
from ....core.registry.registry import get_registry
from ... import DEMO_MODEL
from ..prompts.prompt_set import PromptSet
from .backend import Backend

#: Settings that servers need not know.
_OF_PICTURES = ("model", "max_image_pixels", "max_image_bytes", "image_background")
_BACKENDS = "octavo.app.captioning.backends"


def open_backend(
    config: EngineConfig, prompts: PromptSet, workers: Sequence[str], ray: str | None
) -> Backend:
    """workers: addresses of servers, in place of a model of one's own. ray: the address of a
    cluster, or "local". Loads no model yet. Raises ConfigError or RequestError."""
    if workers and ray is not None:
        raise ConfigError("--workers and --ray are both given; take one")
    backend: Any
    if workers:
        _refuse_settings(config)
        model = None if config.model == DEMO_MODEL else config.model
        backend = load_object(f"{_BACKENDS}.http_workers:HttpWorkers")(workers, model)
    else:
        _check_max_images(config, prompts)
        _check_schemas(config, prompts)
        facts = load_object(f"{_BACKENDS}.model_facts:model_facts")(config)
        if ray is not None:
            backend = load_object(f"{_BACKENDS}.ray_actors:RayActors")(config, facts, address=ray)
        else:
            backend = load_object(f"{_BACKENDS}.local:LocalBackend")(config, facts)
    chosen: Backend = backend
    return chosen


def _check_max_images(config: EngineConfig, prompts: PromptSet) -> None:
    if prompts.max_images > config.max_images_per_prompt:
        raise RequestError(
            f"with its examples a question has {prompts.max_images} pictures, and "
            f"--max-images-per-prompt is {config.max_images_per_prompt}"
        )


def _check_schemas(config: EngineConfig, prompts: PromptSet) -> None:
    def check(source: GrammarSource) -> None:
        spec = get_registry().grammar_by_name(config.structured_outputs_backend)
        backend: type[GrammarBackend] = load_object(spec.load)
        backend.check(source)

    prompts.check_schemas(check)


def _refuse_settings(config: EngineConfig) -> None:
    """Of an engine that isn't there."""
    for field in fields(config):
        if getattr(config, field.name) != field.default and field.name not in _OF_PICTURES:
            name = f"--{field.name.replace('_', '-')}"
            raise ConfigError(f"{name} is of a model in this process; --workers have their own")
