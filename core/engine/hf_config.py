"""What a config leaves unsaid: checkpoints store only what differs from their family's defaults,
and spell settings in the manner of their time."""

from __future__ import annotations

from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING

from ..contracts import JsonDict
from .config import ConfigError


def complete_config(config: JsonDict) -> JsonDict:
    """The config as transformers understands it, nested ones too; one of a `model_type` that
    transformers doesn't know is returned as it is.

    Raises ConfigError if transformers refuses it.
    """
    model_type = str(config.get("model_type"))
    if model_type not in CONFIG_MAPPING:
        return config
    try:
        completed: dict[str, Any] = CONFIG_MAPPING[model_type].from_dict(dict(config)).to_dict()
    except (StrictDataclassError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"the {model_type} config is not valid: {error}") from error
    return completed
