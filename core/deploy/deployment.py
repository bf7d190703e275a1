"""A model on its way to being served, and what the passes do to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from ...kernels.dispatch import KernelTable
from ..checkpoints.checkpoint import Checkpoint
from ..contracts.interfaces import KVCacheSpec
from ..contracts.specs import ModelSpec
from ..protocol.runtime_facts import WeightGroup
from ..quantization.quantizer import Quantizer
from .transformers_spec import transformers_spec


@dataclass
class Deployment:
    """What passes read and change.

    dry_run: nothing is loaded; the model has shapes and no weights (torch's device "meta").
    quantizer: a method that was asked for.
    model: transformers' model, once it is loaded.
    kv_cache_spec: what its attention keeps, once it is the paged one.
    weights: what its layers are stored as, once they are quantised.
    """

    checkpoint: Checkpoint
    device: torch.device
    dtype: torch.dtype
    kernels: KernelTable
    dry_run: bool = False
    quantizer: Quantizer | None = None
    model: Any = None
    kv_cache_spec: KVCacheSpec | None = None
    weights: list[WeightGroup] = field(default_factory=list)

    @property
    def spec(self) -> ModelSpec:
        """What the config says of images."""
        return transformers_spec(self.checkpoint.config)

    @property
    def takes_images(self) -> bool:
        """Whether it is a model of images and texts."""
        return self.spec.image_prompt is not None

    @property
    def decoder(self) -> Any:
        """The part of the model between embeddings and output layer."""
        return self.model.get_decoder()

    @property
    def hidden_size(self) -> int:
        """Width of an embedding."""
        width: int = self.model.get_input_embeddings().weight.shape[1]
        return width


class Pass(Protocol):
    """One change to a model.

    name: as in `octavo deploy --skip`.
    summary: what it does, in one line.
    preserves_greedy: whether the likeliest tokens stay the same.
    required: whether a model can't be served without it.
    """

    name: str
    summary: str
    preserves_greedy: bool
    required: bool

    def apply(self, deployment: Deployment) -> str:
        """Do it, or in a dry run only look; returns what was, or would be, done. Raises
        ConfigError if a required pass can't be done."""
        ...
