"""Which weights a token reads, and how many bytes they are stored in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ...core.checkpoints.checkpoint import Checkpoint
from ...core.contracts.interfaces import LANGUAGE_MODEL, MultiModalModel, OutputHeadModel
from ...core.contracts.specs import ModelSpec
from ...core.layers.stored.quantized_embedding import QuantizedEmbedding
from ...core.models.loader import build_context, build_unfilled, choose_kernels
from ...core.registry.registry import Registry


def num_weights(spec: ModelSpec, checkpoint: Checkpoint, registry: Registry) -> int:
    """How many weights a token of text reads in a plain model. spec: a plugin's.

    Raises ConfigError or UnsupportedModelError.
    """
    device, dtype = torch.device("cpu"), torch.float32
    context = build_context(registry, device, dtype, choose_kernels(registry, device, dtype))
    model = build_unfilled(spec, checkpoint, context)
    for part in model.modules():
        if isinstance(part, OutputHeadModel):
            part.output_head()
    return sum(weight.numel() for weight in _read(model))


def bytes_read(model: Any) -> int:
    """Bytes of the weights that a token of text reads in a loaded model: with scales and zeros, as
    they are stored for the kernels."""
    return sum(weight.nbytes for weight in _read(model))


def _read(model: nn.Module) -> Iterator[Tensor]:
    """Each once: the language model's, without a table of embeddings that is not the head's too, as
    a token reads one row of it."""
    seen: set[int] = set()
    for name, part in model.named_modules():
        if not _is_text(model, name) or isinstance(part, (nn.Embedding, QuantizedEmbedding)):
            continue
        for weight in chain(part.parameters(recurse=False), part.buffers(recurse=False)):
            if id(weight) not in seen:
                seen.add(id(weight))
                yield weight


def _is_text(model: nn.Module, name: str) -> bool:
    return not isinstance(model, MultiModalModel) or LANGUAGE_MODEL in name.split(".")
