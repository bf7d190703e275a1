"""Completed configs: checkpoints store only what differs from their family's defaults, and spell
settings in the way of their release. Defaults are filled in, and legacy spellings normalised."""

from __future__ import annotations

from ..contracts.specs import JsonDict
from .ask_transformers import ask


def complete_config(config: JsonDict) -> JsonDict:
    """The config as transformers understands it, nested ones too; one of a `model_type` that
    transformers doesn't know stays as it is, also within another.

    Raises ConfigError if transformers refuses it.
    """
    completed: JsonDict = ask("complete", config)["config"]
    return completed


def is_known_type(config: JsonDict) -> bool:
    """Whether transformers knows the config's `model_type`."""
    known: bool = ask("complete", config)["known"]
    return known
