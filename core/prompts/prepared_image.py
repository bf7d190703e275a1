"""An image, decoded and preprocessed, with what each of the two took."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from PIL import Image

from ..contracts.specs import ImagePreprocessor
from ..media.decode import decode_image
from ..protocol.media_error import MediaError
from ..protocol.media_limits import MediaLimits
from ..protocol.messages import PixelInput
from ..protocol.shared_array import SharedArray

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedImage:
    """seconds: by stage."""

    payload: PixelInput
    seconds: dict[str, float]


def prepare_image(
    content: bytes | Image.Image,
    preprocessor: ImagePreprocessor,
    limits: MediaLimits,
    background: tuple[int, int, int],
) -> PreparedImage:
    """A file's bytes or an upright RGB picture, ready to be encoded. Raises MediaError."""
    started = time.monotonic()
    picture = content
    if not isinstance(picture, Image.Image):
        picture = decode_image(picture, limits, background)
    decoded = time.monotonic()
    try:
        done = preprocessor.preprocess(picture)
    except Exception as error:  # it may be a plugin's
        logger.exception("an image could not be preprocessed")
        raise MediaError(f"the model's preprocessor can't take the image: {error}") from error
    seconds = {"decode": decoded - started, "preprocess": time.monotonic() - decoded}
    return PreparedImage(PixelInput(SharedArray(done.pixel_values), done.layout), seconds)
