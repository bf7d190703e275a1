"""The model that is quantised: transformers' own, with its weights mapped from the files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from ...core.checkpoints.checkpoint import Checkpoint
from ...core.checkpoints.whole_model import load_whole_model
from ...core.protocol.config import ConfigError

# Not typed.
_text_class: Any = AutoModelForCausalLM
_image_class: Any = AutoModelForImageTextToText


@dataclass(frozen=True)
class SourceModel:
    """model: transformers'. blocks_name: of the list of its decoder blocks, as a module of that.
    takes_images: whether it is one of images and texts. dtype: of the blocks' weights, as stored.
    """

    model: Any
    blocks_name: str
    takes_images: bool
    dtype: torch.dtype

    @property
    def blocks(self) -> list[nn.Module]:
        """The decoder blocks, in their order."""
        return list(self.model.get_submodule(self.blocks_name))

    @property
    def head_dim(self) -> int:
        """Of attention; 0 if its config doesn't say."""
        config = self.model.config.get_text_config(decoder=True)
        heads = getattr(config, "num_attention_heads", 0)
        return getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else 0)

    def linears(self, index: int) -> dict[str, nn.Linear]:
        """Linear layers of a block, by their names in it; also those that compute otherwise, of a
        class that is derived, which stay plain."""
        block = self.blocks[index]
        return {name: part for name, part in block.named_modules() if isinstance(part, nn.Linear)}

    def plain_parts(self) -> list[str]:
        """Names of what has linear layers and is no block: the head, a vision tower, …; of each the
        part that lies beside the decoder or beside its blocks."""
        own = self.blocks_name.split(".")
        found: dict[str, None] = {}
        for name, part in self.model.named_modules():
            parts = name.split(".")
            if isinstance(part, nn.Linear) and parts[: len(own)] != own:
                shared = next(i for i, word in enumerate(parts) if own[i : i + 1] != [word])
                found[".".join(parts[: shared + 1])] = None
        return list(found)


def load_source(checkpoint: Checkpoint) -> SourceModel:
    """Raises ConfigError for a model that isn't a plain one of a known architecture, with blocks of
    linear layers."""
    takes_images = checkpoint.config.get("model_type") in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    auto_class = _image_class if takes_images else _text_class
    # In the dtype that is stored, weights stay in the files, of which the system keeps in memory
    # what it likes.
    model = load_whole_model(checkpoint, auto_class, "auto")
    model.eval().requires_grad_(False)
    blocks_name = _find_blocks(model, checkpoint.name)
    dtype = next(model.get_submodule(blocks_name).parameters()).dtype
    source = SourceModel(model, blocks_name, takes_images, dtype)
    _check_blocks(source, checkpoint.name)
    _widen_others(source)
    return source


@contextmanager
def in_float32(block: nn.Module) -> Iterator[None]:
    """A block whose weights are copies in float32 meanwhile; then those of the files again."""
    stored = {parameter: parameter.data for parameter in block.parameters()}
    try:
        for parameter in stored:
            parameter.data = parameter.data.float()
        yield
    finally:
        for parameter, data in stored.items():
            parameter.data = data


def _find_blocks(model: Any, name: str) -> str:
    decoder = model.get_decoder()
    count = model.config.get_text_config(decoder=True).num_hidden_layers
    names: dict[nn.Module, str] = {part: path for path, part in model.named_modules()}
    lists = [
        part
        for part in decoder.children()
        if isinstance(part, nn.ModuleList) and len(part) == count
    ]
    if len(lists) != 1:
        raise ConfigError(f"{name}: no list of {count} decoder blocks is found in its model")
    return names[lists[0]]


def _check_blocks(source: SourceModel, name: str) -> None:
    for index, block in enumerate(source.blocks):
        matrices = sum(p.numel() for p in block.parameters() if p.dim() > 1)
        layers = [part for part in source.linears(index).values() if type(part) is nn.Linear]
        linear = sum(layer.weight.numel() for layer in layers)
        if linear < matrices / 2:
            raise ConfigError(
                f"{name}: most weights of its block {index} are not in linear layers (but in "
                "mixtures of experts, for instance), which can't be quantised"
            )


def _widen_others(source: SourceModel) -> None:
    """To float32, what lies before the blocks; embeddings, of which few rows are read, as they are
    read. The head runs in the dtype that is stored."""
    model = source.model
    table = model.get_input_embeddings()
    table.register_forward_hook(lambda module, args, output: output.float())
    held = {id(p) for p in table.parameters()}
    held |= {id(p) for block in source.blocks for p in block.parameters()}
    head = model.get_output_embeddings()
    if head is not None:
        held |= {id(p) for p in head.parameters()}
        head.register_forward_pre_hook(lambda module, args: (args[0].to(module.weight.dtype),))
    for parameter in model.parameters():
        if id(parameter) not in held and parameter.is_floating_point():
            parameter.data = parameter.data.float()
