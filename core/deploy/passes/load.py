"""Loads a checkpoint into transformers' own model."""

from __future__ import annotations

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText

from ....kernels.dtypes import dtype_name
from ...checkpoints.whole_model import load_whole_model
from ...protocol.config import ConfigError
from ..deployment import Deployment

# Not typed.
_text_class: Any = AutoModelForCausalLM
_image_class: Any = AutoModelForImageTextToText


class Load:
    """See Pass."""

    name = "load"
    summary = "load the checkpoint into transformers' model"
    preserves_greedy = True
    required = True

    def apply(self, deployment: Deployment) -> str:
        """Raises ConfigError if the checkpoint and the model don't fit each other."""
        model = _describe(deployment) if deployment.dry_run else _load(deployment)
        _check_positions(model, deployment.checkpoint.name)
        deployment.model = model.eval().requires_grad_(False)
        count = sum(p.numel() for p in deployment.model.parameters())
        dtype = dtype_name(deployment.dtype)
        return (
            f"{type(model).__name__}, {count / 1e6:.1f} million parameters, in {dtype} on "
            f"{deployment.device}"
        )


def _auto_class(deployment: Deployment) -> Any:
    return _image_class if deployment.takes_images else _text_class


def _describe(deployment: Deployment) -> Any:
    config = deployment.checkpoint.config
    parsed = CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))
    with torch.device("meta"):
        return _auto_class(deployment).from_config(parsed, dtype=deployment.dtype)


def _load(deployment: Deployment) -> Any:
    auto_class = _auto_class(deployment)
    model = load_whole_model(deployment.checkpoint, auto_class, deployment.dtype)
    return model.to(deployment.device)


def _check_positions(model: Any, name: str) -> None:
    """Raises ConfigError for rotary positions that change as a sequence grows: sequences of
    different lengths could not be computed together."""
    config = model.config.get_text_config(decoder=True)
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None:
        raise ConfigError(f"{name}: its config has no max_position_embeddings")
    if getattr(config, "attn_temperature_tuning", False):
        raise ConfigError(
            f"{name}: its attn_temperature_tuning scales queries by their place in a step, not by "
            "their position, which automatic deployment can't do"
        )
    rope = getattr(config, "rope_parameters", None) or {}
    for settings in (rope, *(part for part in rope.values() if isinstance(part, dict))):
        kind = settings.get("rope_type")
        original = settings.get("original_max_position_embeddings") or limit
        # "dynamic" does too, but beyond the limit, to which the engine keeps.
        if kind == "longrope" and original < limit:
            raise ConfigError(
                f"{name}: rope_type {kind!r} changes with the length of a sequence, which "
                "automatic deployment can't do"
            )
