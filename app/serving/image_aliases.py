"""The names that clients gave to images, so that they need not send them again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from ...core.contracts.specs import ImageSize

_MAX_ALIASES = 65_536


@dataclass(frozen=True)
class KnownImage:
    """What must be known of an image whose features are cached; see ImageInput."""

    content_key: str
    size: ImageSize
    detail: str


class ImageAliases:
    """The last images by name, within a cache salt: who has no part in it can't ask for them."""

    def __init__(self) -> None:
        self._images: OrderedDict[bytes, KnownImage] = OrderedDict()

    def add(self, salt: str, uuid: str, image: KnownImage) -> None:
        """Remember an image by a name; it takes the place of another of that name."""
        key = _key(salt, uuid)
        self._images[key] = image
        self._images.move_to_end(key)
        if len(self._images) > _MAX_ALIASES:
            self._images.popitem(last=False)

    def find(self, salt: str, uuid: str) -> KnownImage | None:
        """The image of this name."""
        return self._images.get(_key(salt, uuid))


def _key(salt: str, uuid: str) -> bytes:
    """Of one size, whatever clients send."""
    return hashlib.sha256(f"{len(salt)}:{salt}{uuid}".encode()).digest()
