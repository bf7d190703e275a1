"""What a model that embeds must be able to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from PIL import Image
from torch import Tensor


def max_text_bytes(context: int, vocabulary: Iterable[str]) -> int:
    """context: tokens that the model sees of a text. No token stands for more bytes than the
    longest of the vocabulary, so what is longer can't be seen whole."""
    return context * max(len(token.encode()) for token in vocabulary)


class Embedder(Protocol):
    """Vectors are float32, of length 1, so that products are cosines."""

    #: Width of a vector.
    dimension: int
    #: Beyond which a text surely has more tokens than the context; see `max_text_bytes`.
    max_text_bytes: int

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """RGB pictures -> [num_images, dimension]."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """[num_texts, dimension]; a text beyond the model's context is cut off."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text that the model sees, without those that fill up its context."""
        ...

    def fingerprint(self) -> str:
        """Changes whenever pictures would be prepared in another way; a part of cache keys."""
        ...

    def digest(self) -> str:
        """Of all else that a picture's vector depends on; see `encoder_digest.py`."""
        ...
