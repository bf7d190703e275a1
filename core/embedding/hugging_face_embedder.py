"""CLIP and SigLIP checkpoints, as transformers runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModel, AutoProcessor

from ..engine.checkpoint import Checkpoint
from ..engine.config import ConfigError

_MODEL_TYPES = ("clip", "siglip", "siglip2")
_model: Any = AutoModel
_processor: Any = AutoProcessor


class HuggingFaceEmbedder:
    """See Embedder. Raises ConfigError for a checkpoint of another kind, or that can't be read."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
        model_type = checkpoint.config.get("model_type")
        if model_type not in _MODEL_TYPES:
            raise ConfigError(
                f"{checkpoint.name}: a {model_type} model gives no embeddings of pictures and "
                f"texts; those that do: {', '.join(_MODEL_TYPES)}, and open_clip:MODEL:WEIGHTS"
            )
        try:
            model = _model.from_pretrained(checkpoint.path, dtype=dtype)
            processor = _processor.from_pretrained(checkpoint.path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{checkpoint.name}: can't be loaded: {error}") from error
        self._model = model.to(device).eval()
        # Its parts, since SigLIP 2's processor puts its own settings before the checkpoint's.
        self._prepare, self._tokenize = processor.image_processor, processor.tokenizer
        # CLIP's texts end where they end; SigLIP was trained on ones filled up to its context,
        # and sees the filling.
        self._fills_up = model_type.startswith("siglip")
        self._max_length = checkpoint.config["text_config"]["max_position_embeddings"]
        self.dimension = self.embed_texts(["a"]).shape[1]

    @torch.inference_mode()
    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """See Embedder."""
        inputs = self._prepare(images=list(images), return_tensors="pt")
        return self._vectors(self._model.get_image_features, inputs)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """See Embedder."""
        inputs = self._tokenize(
            list(texts),
            padding="max_length" if self._fills_up else True,
            truncation=True,
            max_length=self._max_length,
            return_tensors="pt",
        )
        if self._fills_up:
            inputs.pop("attention_mask", None)
        return self._vectors(self._model.get_text_features, inputs)

    def _vectors(self, encode: Any, inputs: Any) -> Tensor:
        device, dtype = self._model.device, self._model.dtype
        output = encode(
            **{k: v.to(device, dtype if v.is_floating_point() else None) for k, v in inputs.items()}
        )
        vectors: Tensor = getattr(output, "pooler_output", output)
        return torch.nn.functional.normalize(vectors.float(), dim=-1)
