"""The ModelSpec of a checkpoint that is served through transformers' own model."""

from __future__ import annotations

from dataclasses import dataclass

from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
)

from ..contracts import JsonDict, ModelSpec
from ..registry import UnsupportedModelError

_PACKAGE = __name__.rpartition(".")[0]


@dataclass(frozen=True)
class TransformersSpec(ModelSpec):
    """A model without a plugin. load: what deploys it, given a Deployment."""


def transformers_spec(config: JsonDict) -> TransformersSpec:
    """The spec for a completed config. Raises UnsupportedModelError if transformers has no such
    language model, or none that takes images and texts."""
    architectures = tuple(config.get("architectures") or ())
    if not set(architectures) & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()):
        named = ", ".join(architectures) or "no architecture"
        raise UnsupportedModelError(
            f"config.json names {named}, which is no causal language model of the installed "
            "transformers either"
        )
    return TransformersSpec("transformers", architectures, f"{_PACKAGE}.pipeline:deploy")
