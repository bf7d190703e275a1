"""Names for images, and for the features that an encoder gives for them."""

from __future__ import annotations

import hashlib

from PIL import Image

from ..contracts.specs import ImageSize
from .features import Features

#: Raised by one whenever equal keys would no longer mean equal features.
SCHEMA_VERSION = 1


def content_key(data: bytes, decode_fingerprint: str) -> str:
    """The name of a file's picture: SHA-256, in hex, of its bytes and of how they are decoded."""
    digest = hashlib.sha256(data)
    digest.update(f"|{decode_fingerprint}".encode())
    return digest.hexdigest()


def picture_key(image: Image.Image) -> str:
    """The name of an upright RGB picture, by its size and pixels."""
    header = f"pixels:{image.width}x{image.height}:".encode()
    return hashlib.sha256(header + image.tobytes()).hexdigest()


def features_content_key(features: Features, size: ImageSize) -> str:
    """The name of an image of which only features and a size are known."""
    shape = list(features.array.shape)
    header = f"features:{size.width}x{size.height}:{features.dtype}:{shape}:".encode()
    return hashlib.sha256(header + features.array.tobytes()).hexdigest()


def scoped_key(content: str, scope: str) -> str:
    """The name of a picture for those of a scope alone; without one, that for all."""
    return hashlib.sha256(f"{content}|{scope}".encode()).hexdigest() if scope else content


def features_key(content: str, processor_fingerprint: str, encoder_digest: str) -> str:
    """The name of an image's features, for every cache that holds them or what follows from them:
    SHA-256, in hex, of the picture's name, how it is prepared, and what encodes it."""
    parts = (f"octavo-{SCHEMA_VERSION}", content, processor_fingerprint, encoder_digest)
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
