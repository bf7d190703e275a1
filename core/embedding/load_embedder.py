"""Which embedder serves a model's name."""

from __future__ import annotations

from typing import cast

import torch

from ..checkpoints.find_checkpoint import find_checkpoint
from ..contracts.specs import load_object
from ..device.device import choose_device, choose_dtype
from ..protocol.config import DTYPES, ConfigError
from ..system.garbage import paused_collections
from .embedder import Embedder
from .model_kind import PREFIX


def choose_place(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """Where an embedder runs, and in what. Raises ConfigError, as `load_embedder`."""
    if dtype not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    chosen = choose_device(device)
    return chosen, choose_dtype(dtype, None, chosen)


@paused_collections()
def load_embedder(name: str, device: str, dtype: str) -> Embedder:
    """name: "open_clip:MODEL:WEIGHTS", a folder, or a hub id. dtype: "auto" is float32.

    Raises ConfigError for a model that can't be loaded, or a device that is not there.
    """
    chosen, chosen_dtype = choose_place(device, dtype)
    # By name, so that neither of the two libraries is imported for the other's models.
    if name.startswith(PREFIX):
        embedder = load_object("octavo.core.embedding.open_clip_embedder:OpenClipEmbedder")
        return cast(Embedder, embedder(name, chosen, chosen_dtype))
    embedder = load_object("octavo.core.embedding.hugging_face_embedder:HuggingFaceEmbedder")
    return cast(Embedder, embedder(find_checkpoint(name), chosen, chosen_dtype))
