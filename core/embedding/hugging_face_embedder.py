"""CLIP and SigLIP checkpoints, as transformers runs them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
import transformers
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModel, AutoProcessor

from ..checkpoints.checkpoint import Checkpoint
from ..models.encoder_digest import encoder_digest
from ..protocol.config import ConfigError
from .embedder import max_text_bytes
from .model_kind import MODEL_TYPES

_ORIGIN = f"embeddings of transformers {transformers.__version__}"
_model: Any = AutoModel
_processor: Any = AutoProcessor


class HuggingFaceEmbedder:
    """See Embedder. Raises ConfigError for a checkpoint of another kind, or that can't be read."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
        model_type = checkpoint.config.get("model_type")
        if model_type not in MODEL_TYPES:
            raise ConfigError(
                f"{checkpoint.name}: a {model_type} model gives no embeddings of pictures and "
                f"texts; those that do: {', '.join(MODEL_TYPES)}, and open_clip:MODEL:WEIGHTS"
            )
        try:
            model, info = _model.from_pretrained(
                checkpoint.path, dtype=dtype, output_loading_info=True
            )
            processor = _processor.from_pretrained(checkpoint.path)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ConfigError(f"{checkpoint.name}: can't be loaded: {error}") from error
        # transformers would go on with random numbers in their place.
        missing = sorted(info["missing_keys"])
        if missing:
            raise ConfigError(
                f"{checkpoint.name}: {len(missing)} weights are missing, such as {missing[0]}"
            )
        self._model = model.to(device).eval()
        self._config = checkpoint.config
        # Its parts, since SigLIP 2's processor puts its own settings before the checkpoint's.
        self._prepare, self._tokenize = processor.image_processor, processor.tokenizer
        # CLIP's texts end where they end; SigLIP was trained on ones filled up to its context,
        # and sees the filling.
        self._fills_up = model_type.startswith("siglip")
        self._max_length = checkpoint.config["text_config"]["max_position_embeddings"]
        self.max_text_bytes = max_text_bytes(self._max_length, self._tokenize.get_vocab())
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

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See Embedder."""
        inputs = self._tokenize(list(texts), truncation=True, max_length=self._max_length)
        return [len(token_ids) for token_ids in inputs["input_ids"]]

    def fingerprint(self) -> str:
        """See Embedder."""
        return json.dumps(self._prepare.to_dict(), sort_keys=True, default=str)

    def digest(self) -> str:
        """See Embedder."""
        return encoder_digest(self._model, self._config, self._model.dtype, _ORIGIN)

    def _vectors(self, encode: Any, inputs: Any) -> Tensor:
        device, dtype = self._model.device, self._model.dtype
        output = encode(
            **{k: v.to(device, dtype if v.is_floating_point() else None) for k, v in inputs.items()}
        )
        vectors: Tensor = getattr(output, "pooler_output", output)
        return torch.nn.functional.normalize(vectors.float(), dim=-1)
