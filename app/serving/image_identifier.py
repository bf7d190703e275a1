"""From an image as a request names it to its own name and its size, whatever the face."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ...core.contracts.specs import ImageSize, load_object
from ...core.encoder_store.feature_file import check_finite, read_feature_file
from ...core.encoder_store.features import Features
from ...core.encoder_store.media_key import content_key, features_content_key, picture_key
from ...core.media.decode import WHITE, decode_fingerprint, to_rgb
from ...core.media.flatten import Colour
from ...core.media.headers.image_header import check_size
from ...core.media.sources.data_url import read_data_url
from ...core.prompts.image_part import ImagePart
from ...core.prompts.sized_image import SizedImage
from ...core.protocol.config import EngineConfig
from ...core.protocol.errors import RequestError
from ...core.protocol.media_error import MediaError
from ...core.protocol.media_limits import MediaLimits

#: Gives the size that an image of given features is taken to have, or raises RequestError with
#: the name of the part.
SizeOfFeatures = Callable[[str], ImageSize]


class ImageIdentifier:
    """The checks of an image and the names that caches know it by; no file is decoded here.

    limits, background: what an image may be, and what shows through transparent ones.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.limits = config.media_limits
        self.background = config.image_background
        self._max_images = config.max_images_per_prompt
        self._fingerprint = decode_fingerprint(config.image_background)

    def check_number(self, parts: Sequence[ImagePart | SizedImage]) -> None:
        """Raises RequestError, naming the first image that is too many."""
        if len(parts) > self._max_images:
            param = parts[self._max_images].param
            raise RequestError(
                f"{param}: the request has {len(parts)} images, more than the {self._max_images} "
                "allowed; send fewer",
                param,
            )

    def read_data_url(self, url: str) -> bytes | None:
        """A file's bytes; None for a URL of another kind. Raises MediaError."""
        if url[:5].lower() != "data:":
            return None
        return read_data_url(url, self.limits.max_bytes)

    def content_key(self, data: bytes) -> str:
        """The name of a file's picture."""
        return content_key(data, self._fingerprint)

    def of_picture(self, picture: Image.Image, param: str) -> SizedImage:
        """A picture in memory. Raises MediaError."""
        rgb = upright(picture, self.limits, self.background)
        return SizedImage(ImageSize(*rgb.size), picture_key(rgb), param, rgb)

    def of_features(self, part: ImagePart, size_of_features: SizeOfFeatures) -> SizedImage:
        """An image of which a part gives the features. Raises MediaError, and what
        size_of_features does."""
        features = _read_features(part.features)
        size = part.size or size_of_features(part.param)
        return SizedImage(size, features_content_key(features, size), part.param, features)


def upright(picture: Image.Image, limits: MediaLimits, background: Colour = WHITE) -> Image.Image:
    """A picture in memory, in RGB. Raises MediaError for one that is too large or broken."""
    check_size(ImageSize(*picture.size), limits)
    return to_rgb(picture, background)


def _read_features(given: Any) -> Features:
    """An array, a tensor, or a file in base64. Raises MediaError."""
    if isinstance(given, str):
        try:
            data = base64.b64decode(given, validate=True)
        except ValueError as error:  # also binascii.Error
            raise MediaError(f"the features are no valid base64: {error}") from error
        return read_feature_file(data)
    try:
        features = _from_array(given)
    except (ValueError, TypeError) as error:
        raise MediaError(f"the features can't be read: {error}") from error
    check_finite(features)
    return features


def _from_array(given: Any) -> Features:
    # A tensor is one of a torch that its owner has imported; servers hold none.
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        from_tensor = load_object("octavo.core.engine.execution.feature_arrays:from_tensor")
        features: Features = from_tensor(given)
        return features
    array = np.asarray(given)
    return Features(array.dtype.name, array)
