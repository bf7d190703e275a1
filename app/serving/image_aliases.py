"""The names that clients gave to images, so that they need not send them again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import replace

from ...core.prompts.sized_image import SizedImage

_MAX_ALIASES = 65_536


class ImageAliases:
    """The last images by name, within a cache salt: who has no part in it can't ask for them."""

    def __init__(self) -> None:
        self._images: OrderedDict[bytes, SizedImage] = OrderedDict()

    def add(self, salt: str, uuid: str, image: SizedImage) -> None:
        """Remember an image by a name, without its content; it takes the place of another of that
        name."""
        key = _key(salt, uuid)
        self._images[key] = replace(image, content=None)
        self._images.move_to_end(key)
        if len(self._images) > _MAX_ALIASES:
            self._images.popitem(last=False)

    def find(self, salt: str, uuid: str) -> SizedImage | None:
        """The image of this name."""
        return self._images.get(_key(salt, uuid))


def _key(salt: str, uuid: str) -> bytes:
    """Of one size, whatever clients send."""
    return hashlib.sha256(f"{len(salt)}:{salt}{uuid}".encode()).digest()
