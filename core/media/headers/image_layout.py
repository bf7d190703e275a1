"""Where the picture is in a file, as the readers of the formats find it without decoding it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...contracts.specs import ImageSize


@dataclass(frozen=True)
class ImageLayout:
    """The facts in a file's header, and the parts of the file that make its picture.

    size: as stored, before orientation; unchecked.
    picture: what Pillow is to decode, in order. The rest is kept from its parsers: metadata,
        which they may take minutes or gigabytes to read, and frames after the first.
    orientation: 1 to 8, as in EXIF.
    num_frames: of an animation, if the header tells; else 1.
    """

    size: ImageSize
    picture: Sequence[bytes | memoryview]
    orientation: int = 1
    num_frames: int = 1
