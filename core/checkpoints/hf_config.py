"""Completed configs: checkpoints store only what differs from their family's defaults, and spell
settings in the way of their release. Defaults are filled in, and legacy spellings normalised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING

from ..contracts.specs import JsonDict
from ..protocol.config import ConfigError


def complete_config(config: JsonDict) -> JsonDict:
    """The config as transformers understands it, nested ones too; one of a `model_type` that
    transformers doesn't know stays as it is, also within another.

    Raises ConfigError if transformers refuses it.
    """
    if not is_known_type(config):
        return config
    model_type = str(config["model_type"])
    foreign = {key: value for key, value in config.items() if _is_foreign(value)}
    known = {key: value for key, value in config.items() if key not in foreign}
    try:
        completed: dict[str, Any] = CONFIG_MAPPING[model_type].from_dict(known).to_dict()
    except (StrictDataclassError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"the {model_type} config is not valid: {error}") from error
    return completed | foreign


def is_known_type(config: JsonDict) -> bool:
    """Whether transformers knows the config's `model_type`."""
    return str(config.get("model_type")) in CONFIG_MAPPING


def _is_foreign(value: object) -> bool:
    if not isinstance(value, Mapping) or "model_type" not in value:
        return False
    return value["model_type"] not in CONFIG_MAPPING
