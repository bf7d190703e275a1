"""Choice of a checkpoint's implementation: a plugin, or transformers by automatic deployment."""

from __future__ import annotations

from ..contracts.specs import JsonDict, ModelSpec
from ..deploy.transformers_spec import transformers_spec
from ..registry.registry import Registry, UnsupportedModelError


def choose_model(config: JsonDict, registry: Registry, model_impl: str) -> ModelSpec:
    """The spec for a checkpoint's config. model_impl: see EngineConfig.

    Raises UnsupportedModelError.
    """
    if model_impl == "transformers":
        return transformers_spec(config)
    try:
        return registry.model_for_config(config)
    except UnsupportedModelError as refused:
        if model_impl == "octavo":
            raise
        try:
            return transformers_spec(config)
        except UnsupportedModelError as error:
            raise UnsupportedModelError(f"{refused}; {error}") from error
