"""The offline class for embeddings: pictures and texts in, vectors out."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
import torch
from numpy.typing import NDArray

from ...core.embedding.load_embedder import load_embedder
from ...core.protocol.config import EngineConfig
from ...core.protocol.media_limits import MediaLimits
from ...core.protocol.request_error import RequestError
from ...core.system.memory import return_freed_memory
from .model_life import ModelLife
from .pictures import load_picture

_BATCH_SIZE = 32


class EmbeddingModel:
    """A model whose pictures and texts lie in one space. It is a context: at the end of a `with`
    it is closed.

    model: "open_clip:MODEL:WEIGHTS", such as "open_clip:ViT-B-32:laion2b_s34b_b79k", or a folder
        or hub id of a CLIP or SigLIP checkpoint.
    Raises ConfigError if it can't be loaded; RuntimeError, as all its methods do, in a process that
    was forked from one that has loaded a model.
    """

    def __init__(self, model: str | Path, device: str = "auto", dtype: str = "float32") -> None:
        self._life = ModelLife(type(self).__name__)
        self._model = str(model)
        self._embedder = load_embedder(self._model, device, dtype)

    def __repr__(self) -> str:
        state = "closed" if self._life.closed else f"{self._embedder.dimension} dimensions"
        return f"<{type(self).__name__} {self._model!r}, {state}>"

    def __reduce__(self) -> NoReturn:
        self._life.refuse_pickle("pickle the arguments that it was made with instead")

    def __enter__(self) -> Self:
        self._life.check()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory of the weights back. Whatever is called afterwards raises RuntimeError,
        but for `close`."""
        if self._life.close():
            del self._embedder
            gc.collect()
            return_freed_memory()

    @property
    def dimension(self) -> int:
        """Width of a vector."""
        self._life.check()
        return self._embedder.dimension

    def embed_images(
        self, images: Sequence[Any], max_pixels: int = EngineConfig.max_image_pixels
    ) -> NDArray[np.float32]:
        """Pictures, paths, or data: or file: URLs -> [num_images, dimension], each of length 1.

        Raises RequestError, naming the one at fault.
        """
        self._life.check()
        _check_list(images, "images")
        limits = MediaLimits(max_pixels=max_pixels)
        pictures = [load_picture(p, f"images[{i}]", limits) for i, p in enumerate(images)]
        return self._in_batches(self._embedder.embed_images, pictures)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[num_texts, dimension], each vector of length 1. Raises RequestError."""
        self._life.check()
        _check_list(texts, "texts")
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise RequestError(f"texts[{i}] must be a text, not {type(text)}", f"texts[{i}]")
        return self._in_batches(self._embedder.embed_texts, texts)

    def _in_batches(self, embed: Any, items: Sequence[Any]) -> NDArray[np.float32]:
        batches = [items[i : i + _BATCH_SIZE] for i in range(0, len(items), _BATCH_SIZE)]
        vectors = [embed(batch) for batch in batches] or [torch.empty(0, self.dimension)]
        stacked: NDArray[np.float32] = torch.cat(vectors).cpu().numpy()
        return stacked


def _check_list(items: Any, param: str) -> None:
    if isinstance(items, str | bytes) or not isinstance(items, Sequence):
        raise RequestError(f"{param} must be a list, not {type(items)}", param)
