"""transformers' model of a checkpoint, or words that say why there is none."""

from __future__ import annotations

from typing import Any

from safetensors import SafetensorError

from ..protocol.config import ConfigError
from .checkpoint import Checkpoint


def load_whole_model(checkpoint: Checkpoint, auto_class: Any, dtype: Any) -> Any:
    """An object of one of transformers' classes, with all its weights from the files. dtype: of
    torch, or "auto" for the one that is stored.

    Raises ConfigError if transformers can't load it, or if weights are missing, in whose place it
    would go on with random numbers.
    """
    try:
        model, info = checkpoint.transformers_model(
            auto_class, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise ConfigError(f"{checkpoint.name}: transformers can't load it: {error}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ConfigError(
            f"{checkpoint.name}: {len(missing)} weights are missing, such as {missing[0]}"
        )
    return model
