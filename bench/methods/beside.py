"""Quantised checkpoints that are measured beside the plain model that they were made of."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

from ...core.checkpoints.checkpoint import Checkpoint
from ...core.checkpoints.find_checkpoint import find_checkpoint
from ...core.protocol.config import ConfigError, EngineConfig

#: What says how a checkpoint was made, and nothing of its model.
_OF_MAKING = ("quantization_config", "_name_or_path", "_model_name_or_path", "transformers_version")


def beside_configs(
    plain: Checkpoint, config: EngineConfig, paths: Sequence[str], taken: Container[str]
) -> dict[str, EngineConfig]:
    """Engines' configs by the folders' names. config: the plain model's. taken: other names.

    Raises ConfigError for one that isn't a quantised checkpoint of the same model, or whose name is
    another's.
    """
    found: dict[str, EngineConfig] = {}
    for path in paths:
        checkpoint = find_checkpoint(path)
        if not checkpoint.quantization_config:
            raise ConfigError(f"--beside {path}: is not quantised")
        changed = _changes(plain.config, checkpoint.config)
        if changed:
            raise ConfigError(
                f"--beside {path}: is of another model than {plain.name}: its config differs in "
                f"{', '.join(changed[:4])}"
            )
        if plain.tokenizer_parts != checkpoint.tokenizer_parts:
            raise ConfigError(f"--beside {path}: has another tokenizer than {plain.name}")
        name = checkpoint.path.resolve().name
        if name in found or name in taken:
            raise ConfigError(f"--beside {path}: there is a row with the name {name} already")
        found[name] = replace(config, model=path)
    return found


def _changes(one: Any, other: Any) -> list[str]:
    return sorted(
        key for key in {*one, *other} if key not in _OF_MAKING and one.get(key) != other.get(key)
    )
