"""The images of offline callers: pictures, paths, data: URLs and features, read in this process."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...core.contracts.specs import ImageSize
from ...core.encoder_store.feature_file import read_feature_file
from ...core.encoder_store.features import Features
from ...core.encoder_store.find_features import find_features
from ...core.encoder_store.media_key import content_key, features_content_key, picture_key
from ...core.encoder_store.tier import StoreTier
from ...core.engine.execution.feature_arrays import from_tensor, to_payload
from ...core.media.decode import decode_fingerprint, decode_image, to_rgb
from ...core.media.headers.image_header import read_header
from ...core.media.sources.data_url import read_data_url
from ...core.prompts.image_part import ImagePart
from ...core.prompts.image_views import ImageInput, ViewedImage
from ...core.prompts.input_processor import BuiltRequest, InputProcessor
from ...core.prompts.prepared_image import prepare_image
from ...core.protocol.config import EngineConfig
from ...core.protocol.errors import ImageError, RequestError
from ...core.protocol.media_error import MediaError
from ...core.protocol.media_limits import MediaLimits
from ...core.protocol.messages import EngineReady, EngineRequest, MediaInput, MediaPayload


class PictureReader:
    """Reads parts, and loads what requests show. tier: a store to look for features in first."""

    def __init__(self, config: EngineConfig, tier: StoreTier | None) -> None:
        self._limits = config.media_limits
        self._background = config.image_background
        self._max_images = config.max_images_per_prompt
        self._tier = tier

    def read(self, parts: list[ImagePart], inputs: InputProcessor) -> list[ImageInput]:
        """In order. Raises RequestError, naming the part at fault."""
        if len(parts) > self._max_images:
            param = parts[self._max_images].param
            raise RequestError(
                f"{param}: there are {len(parts)} images, more than max_images_per_prompt, "
                f"{self._max_images}",
                param,
            )
        return [self._read(part, inputs) for part in parts]

    def load(self, built: BuiltRequest) -> EngineRequest:
        """The request with its payloads. Raises ImageError."""
        return built.with_payloads(
            {
                media.media_key: self._load(media, built.images[media.media_key], built.limits)
                for media in built.request.media
            }
        )

    def _read(self, part: ImagePart, inputs: InputProcessor) -> ImageInput:
        try:
            if part.features is not None:
                features = _features_of(part.features)
                size = part.size or inputs.size_of_features(part.param)
                key = features_content_key(features, size)
                return ImageInput(size, key, part.param, features)
            if isinstance(part.picture, Image.Image):
                picture = to_rgb(part.picture, self._background)
                size = ImageSize(*picture.size)
                return ImageInput(size, picture_key(picture), part.param, picture)
            data = _bytes_of(part, self._limits)
            size = read_header(data, self._limits).size
        except MediaError as error:
            raise ImageError(error, part.param) from error
        key = content_key(data, decode_fingerprint(self._background))
        return ImageInput(size, key, part.param, data, part.detail)

    def _load(self, media: MediaInput, viewed: ViewedImage, limits: EngineReady) -> MediaPayload:
        content = viewed.image.content
        if isinstance(content, Features):
            return to_payload(content)
        if self._tier is not None:
            stored = find_features(self._tier, media, limits)
            if stored is not None:
                return to_payload(stored)
        assert content is not None
        preprocessor = viewed.view.preprocessor
        try:
            return prepare_image(content, preprocessor, self._limits, self._background).payload
        except MediaError as error:
            raise ImageError(error, viewed.image.param) from error


def load_picture(source: Any, param: str, limits: MediaLimits) -> Image.Image:
    """An upright RGB picture from a PIL image or a path. Raises ImageError or RequestError."""
    try:
        if isinstance(source, Image.Image):
            return to_rgb(source)
        return decode_image(_read_path(source, param), limits)
    except MediaError as error:
        raise ImageError(error, param) from error


def _bytes_of(part: ImagePart, limits: MediaLimits) -> bytes:
    if part.url is None and part.uuid is None:
        return _read_path(part.picture, part.param)
    if part.url is None or not part.url.startswith("data:"):
        raise RequestError(
            f"{part.param}: only data: URLs are taken here; give a file as "
            '{"type": "image", "image": path}',
            part.param,
        )
    return read_data_url(part.url, limits.max_bytes)


def _read_path(source: Any, param: str) -> bytes:
    if not isinstance(source, str | Path):
        raise RequestError(f"{param} must be a picture or a path, not {type(source)}", param)
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise RequestError(f"{param}: {source} can't be read: {error.strerror}", param) from error


def _features_of(given: Any) -> Features:
    """An array, a tensor, or a file in base64. Raises MediaError."""
    try:
        if isinstance(given, str):
            return read_feature_file(base64.b64decode(given, validate=True))
        if isinstance(given, torch.Tensor):
            return from_tensor(given)
        array = np.asarray(given)
        return Features(array.dtype.name, array)
    except (ValueError, TypeError, binascii.Error) as error:
        raise MediaError(f"the features can't be read: {error}") from error
