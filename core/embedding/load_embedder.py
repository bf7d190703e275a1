"""Which embedder serves a model's name."""

from __future__ import annotations

import torch

from ..engine.find_checkpoint import find_checkpoint
from .embedder import Embedder
from .hugging_face_embedder import HuggingFaceEmbedder
from .open_clip_embedder import PREFIX, OpenClipEmbedder


def load_embedder(name: str, device: torch.device, dtype: torch.dtype) -> Embedder:
    """name: "open_clip:MODEL:WEIGHTS", a folder, or a hub id. Raises ConfigError."""
    if name.startswith(PREFIX):
        return OpenClipEmbedder(name, device, dtype)
    return HuggingFaceEmbedder(find_checkpoint(name), device, dtype)
