"""The names that clients gave to images, so that they need not send them again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from ...core.contracts import ImageSize

_MAX_ALIASES = 65_536


@dataclass(frozen=True)
class KnownImage:
    """What must be known of an image whose features are cached: its content key and its size."""

    content_key: str
    size: ImageSize


class ImageAliases:
    """The last images by name, within a cache salt: who has no part in it can't ask for them."""

    def __init__(self) -> None:
        self._images: OrderedDict[tuple[str, str], KnownImage] = OrderedDict()

    def add(self, salt: str, uuid: str, image: KnownImage) -> None:
        """Remember an image by a name; it takes the place of another of that name."""
        self._images[salt, uuid] = image
        self._images.move_to_end((salt, uuid))
        if len(self._images) > _MAX_ALIASES:
            self._images.popitem(last=False)

    def find(self, salt: str, uuid: str) -> KnownImage | None:
        """The image of this name."""
        return self._images.get((salt, uuid))
