"""The ModelSpec of a checkpoint that is served through transformers' own model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..contracts.specs import JsonDict, ModelSpec
from ..registry.registry import UnsupportedModelError

_IMAGES = "octavo.core.deploy.processor_images:ProcessorImagePrompt"
#: It holds what it deploys against the engine, which is above this.
_LOAD = "octavo.core.auto_deploy.pipeline:deploy"
#: Models whose images see themselves, which no config says.
_IMAGE_ATTENTION: dict[str, Literal["bidirectional", "prefix"]] = {
    "gemma3": "bidirectional",
    "paligemma": "prefix",
}


@dataclass(frozen=True)
class TransformersSpec(ModelSpec):
    """A model without a plugin. load: what deploys it, given a Deployment."""


def transformers_spec(config: JsonDict) -> TransformersSpec:
    """The spec for a completed config. Raises UnsupportedModelError if transformers has no such
    language model, or none that takes images and texts."""
    # Imported only here, with torch, as models of plugins do without.
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    architectures = tuple(config.get("architectures") or ())
    if set(architectures) & set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.values()):
        rope = (config.get("text_config") or {}).get("rope_parameters") or {}
        return TransformersSpec(
            "transformers",
            architectures,
            _LOAD,
            image_prompt=_IMAGES,
            image_attention=_IMAGE_ATTENTION.get(str(config.get("model_type")), "causal"),
            positions="mrope" if "mrope_section" in rope else "1d",
        )
    if not set(architectures) & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()):
        named = ", ".join(architectures) or "no architecture"
        raise UnsupportedModelError(
            f"config.json names {named}, which is no causal language model of the installed "
            "transformers either, nor one of images and texts"
        )
    return TransformersSpec("transformers", architectures, _LOAD)
