"""What the captions of a model depend on, beside what is asked of it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ....core.checkpoints.find_checkpoint import find_checkpoint
from ....core.checkpoints.weights_digest import weights_digest
from ....core.protocol.config import EngineConfig
from ... import DEMO_MODEL

#: Of the engine's settings, those that change answers.
_SETTINGS = (
    "model_impl",
    "dtype",
    "kv_cache_dtype",
    "quantization",
    "max_model_len",
    "max_image_tokens",
    "max_image_pixels",
    "image_background",
)


def model_facts(config: EngineConfig) -> dict[str, Any]:
    """The model's name, a digest of its weights, and the settings that aren't the defaults. Loads
    no model. Raises ConfigError if there is no such one."""
    defaults = {field.name: field.default for field in fields(EngineConfig)}
    facts: dict[str, Any] = {
        "model": "octavo-demo" if config.model == DEMO_MODEL else config.model,
        "weights": weights_digest(find_checkpoint(config.model, config.mmproj)),
    }
    settings = {name: getattr(config, name) for name in _SETTINGS}
    return facts | {name: value for name, value in settings.items() if value != defaults[name]}
