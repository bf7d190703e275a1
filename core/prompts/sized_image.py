"""An image whose size and name are known, so that it can be placed in a prompt."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from ..contracts.specs import ImageSize
from ..encoder_store.features import Features
from ..protocol.shared_array import SharedArray


@dataclass(frozen=True)
class SizedImage:
    """What became of an ImagePart.

    size: after EXIF rotation.
    content_key: the name of its picture; see `media_key.py`.
    param: where it stood in the request.
    content: a file's bytes, as a SharedArray for other processes; an upright RGB picture; features
        that the caller has computed; None for an image that the caches are believed to know.
    detail: "low" for few tokens; "auto" and "high" are the model's own choice.
    uuid: the name by which a client asks for an image of None.
    """

    size: ImageSize
    content_key: str
    param: str
    content: bytes | SharedArray | Image.Image | Features | None
    detail: str = "auto"
    uuid: str | None = None
