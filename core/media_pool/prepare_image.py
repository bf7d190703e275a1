"""From a file's bytes, or a picture, to what the encoder takes."""

from __future__ import annotations

import logging
import time

from PIL import Image

from ..contracts.specs import ImagePreprocessor
from ..media.decode import decode_image
from ..media.flatten import Colour
from ..protocol.media_error import MediaError
from ..protocol.media_limits import MediaLimits
from ..protocol.messages import PixelInput
from ..protocol.shared_array import SharedArray
from .jobs import Prepared

logger = logging.getLogger(__name__)


def prepare_image(
    content: bytes | Image.Image,
    preprocessor: ImagePreprocessor,
    limits: MediaLimits,
    background: Colour,
) -> Prepared:
    """A file's bytes or an upright RGB picture, decoded and preprocessed. Raises MediaError."""
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
    return Prepared(PixelInput(SharedArray(done.pixel_values), done.layout), seconds)
