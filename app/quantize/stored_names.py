"""The tensors of a checkpoint's files that a model's blocks have their weights from."""

from __future__ import annotations

import torch

from ...core.checkpoints.checkpoint import Checkpoint
from ...core.protocol.config import ConfigError
from .source_model import SourceModel


def find_stored_names(source: SourceModel, checkpoint: Checkpoint) -> list[dict[str, str]]:
    """For each block, the name in the files of each of its parameters, by the parameter's. Files
    may name a model's parts otherwise than transformers does, but not the parts of a block.

    Raises ConfigError for a layer's weight that the files don't hold as it is.
    """
    leaf = source.blocks_name.rpartition(".")[2]
    blocks = source.blocks
    wanted = {
        f"{leaf}.{index}.{name}": (index, name, parameter)
        for index, block in enumerate(blocks)
        for name, parameter in block.named_parameters()
    }
    found: list[dict[str, str]] = [{} for _ in blocks]
    for stored, tensor in checkpoint.weights():
        # A vision tower's may end alike, with other numbers.
        for ending in _endings(stored):
            index, name, parameter = wanted.get(ending, (0, "", None))
            if parameter is not None and torch.equal(parameter.data, tensor):
                found[index][name] = stored
    for index in range(len(blocks)):
        for name in source.linears(index):
            if f"{name}.weight" not in found[index]:
                raise ConfigError(
                    f"{checkpoint.name}: its files don't hold the weight of {name} in block "
                    f"{index} as transformers' model has it, so that it can't be quantised"
                )
    return found


def _endings(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]
