"""Models of open_clip, by name and weights, as open_clip runs them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import open_clip
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from ..models.encoder_digest import encoder_digest
from ..protocol.config import ConfigError
from .embedder import max_text_bytes
from .model_kind import PREFIX

logger = logging.getLogger(__name__)

_ORIGIN = f"embeddings of open_clip {open_clip.__version__}"
#: That a tokenizer remembers.
_MAX_WORDS = 2**13
#: What reading a file that holds other weights, or none, ends in.
_LOAD_ERRORS = (
    AssertionError,
    AttributeError,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    SafetensorError,
    StopIteration,
    UnpicklingError,
    ValueError,
)


class OpenClipEmbedder:
    """See Embedder. name: "open_clip:MODEL:WEIGHTS", the weights being a file or a tag such as
    laion2b_s34b_b79k, or "open_clip:MODEL" for the first of its tags.

    Raises ConfigError for a model or weights that can't be had.
    """

    def __init__(self, name: str, device: torch.device, dtype: torch.dtype) -> None:
        model_name, _, weights = name.removeprefix(PREFIX).partition(":")
        weights = _choose_weights(model_name, weights)
        # First, since some are on the hub, and weights take long.
        self._tokenize = _load_tokenizer(model_name)
        model, self._transform = _load_model(model_name, weights)
        self._model = model.to(device, dtype).eval()
        self._name, self._device, self._dtype = model_name, device, dtype
        self._known_words = dict(getattr(self._tokenize, "cache", {}))
        # What stands behind the end of a text that is shorter than the context.
        nothing = self._tokenize([""])[0]
        self._filling = int(nothing[-1])
        self.max_text_bytes = max_text_bytes(len(nothing), _vocabulary(self._tokenize))
        self.dimension = self.embed_texts([""]).shape[1]

    @torch.inference_mode()
    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """See Embedder."""
        pixels = torch.stack([self._transform(image) for image in images])
        vectors: Tensor = self._model.encode_image(pixels.to(self._device, self._dtype))
        return torch.nn.functional.normalize(vectors.float(), dim=-1)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """See Embedder."""
        token_ids = self._tokenize(list(texts)).to(self._device)
        self._forget_words()
        vectors: Tensor = self._model.encode_text(token_ids)
        return torch.nn.functional.normalize(vectors.float(), dim=-1)

    def _forget_words(self) -> None:
        """open_clip's own tokenizer would keep every word that it ever saw."""
        if len(getattr(self._tokenize, "cache", ())) > _MAX_WORDS:
            self._tokenize.cache.clear()
            self._tokenize.cache.update(self._known_words)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See Embedder."""
        is_text = self._tokenize(list(texts)) != self._filling
        places = torch.arange(1, is_text.shape[1] + 1)
        return [int(count) for count in (is_text * places).amax(dim=1)]

    def fingerprint(self) -> str:
        """See Embedder."""
        settings = open_clip.get_model_preprocess_cfg(self._model)
        return json.dumps(settings, sort_keys=True, default=str)

    def digest(self) -> str:
        """See Embedder."""
        config = open_clip.get_model_config(self._name)
        return encoder_digest(self._model, config, self._dtype, _ORIGIN)


def _choose_weights(model_name: str, weights: str) -> str:
    if open_clip.get_model_config(model_name) is None:
        raise ConfigError(
            f"open_clip has no model {model_name!r}; open_clip.list_models() has them all"
        )
    tags: list[str] = open_clip.list_pretrained_tags_by_model(model_name)
    if not weights and tags:
        logger.info("%s: no weights are named, taking %s", model_name, tags[0])
        return tags[0]
    if weights not in tags and not Path(weights).is_file():
        raise ConfigError(
            f"{model_name}: {weights!r} is neither a file nor a tag of weights; give one as "
            f"{PREFIX}{model_name}:WEIGHTS; tags: {', '.join(tags) or 'none'}"
        )
    return weights


def _load_tokenizer(model_name: str) -> Any:
    try:
        return open_clip.get_tokenizer(model_name)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{PREFIX}{model_name}: its tokenizer is on the Hugging Face hub and can't be "
            f"downloaded: {_reason(error)}; without a network, it must be in the hub's cache"
        ) from error


def _vocabulary(tokenizer: Any) -> Iterable[str]:
    """The tokens of one of open_clip's own, or of one that it has from transformers."""
    wrapped = getattr(tokenizer, "tokenizer", None)
    tokens: Iterable[str] = tokenizer.encoder if wrapped is None else wrapped.get_vocab()
    return tokens


def _load_model(model_name: str, weights: str) -> tuple[Any, Any]:
    """The model, and its preparation of images."""
    try:
        model, _, transform = open_clip.create_model_and_transforms(
            model_name, pretrained=weights, weights_only=True
        )
    except _LOAD_ERRORS as error:
        name = f"{PREFIX}{model_name}:{weights}"
        if Path(weights).is_file():
            raise ConfigError(
                f"{name}: the file doesn't hold this model's weights: {_reason(error)}"
            ) from error
        raise ConfigError(
            f"{name}: the weights can't be downloaded: {_reason(error)}; without a network, give "
            f"the path of a file that holds them as {PREFIX}{model_name}:PATH"
        ) from error
    return model, transform


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
