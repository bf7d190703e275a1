"""The images of offline callers: pictures, paths, data: URLs and features, read in this process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from PIL import Image

from ...core.encoder_store.features import Features
from ...core.encoder_store.find_features import find_features
from ...core.encoder_store.tier import StoreTier
from ...core.media.decode import decode_image
from ...core.media.headers.image_header import check_file_size, read_header
from ...core.media_pool.prepare_image import prepare_image
from ...core.prompts.image_part import ImagePart
from ...core.prompts.image_views import PlacedImage
from ...core.prompts.input_processor import BuiltRequest, InputProcessor
from ...core.prompts.sized_image import SizedImage
from ...core.protocol.config import EngineConfig
from ...core.protocol.errors import ImageNotCachedError, RequestError
from ...core.protocol.media_limits import MediaLimits
from ...core.protocol.messages import EngineFacts, EngineRequest, MediaInput, MediaPayload
from ...core.protocol.request_error import naming_image
from ..serving.image_identifier import ImageIdentifier, upright


class PictureReader:
    """Reads parts, and loads what requests show. tier: a store to look for features in first."""

    def __init__(self, config: EngineConfig, tier: StoreTier | None) -> None:
        self._identifier = ImageIdentifier(config)
        self._tier = tier

    def read(self, parts: list[ImagePart], inputs: InputProcessor) -> list[SizedImage]:
        """In order. Raises RequestError, naming the part at fault."""
        self._identifier.check_number(parts)
        return [self._read(part, inputs) for part in parts]

    def load(self, built: BuiltRequest) -> EngineRequest:
        """The request with its payloads. Raises ImageError."""
        return built.with_payloads(
            {
                media.media_key: self._load(media, built.images[media.media_key], built.facts)
                for media in built.request.media
            }
        )

    def _read(self, part: ImagePart, inputs: InputProcessor) -> SizedImage:
        with naming_image(part.param):
            if part.features is not None:
                return self._identifier.of_features(part, inputs.size_of_features)
            if isinstance(part.picture, Image.Image):
                return self._identifier.of_picture(part.picture, part.param)
            data = self._bytes_of(part)
            size = read_header(data, self._identifier.limits).size
        key = self._identifier.content_key(data)
        return SizedImage(size, key, part.param, data, part.detail, part.uuid)

    def _bytes_of(self, part: ImagePart) -> bytes:
        """Raises MediaError or RequestError."""
        if part.url is None and part.uuid is None:
            return _read_path(part.picture, part.param, self._identifier.limits)
        if part.url is None:
            raise ImageNotCachedError(part.uuid or "", part.param)
        data = self._identifier.read_data_url(part.url)
        if data is None:
            raise RequestError(
                f"{part.param}: only data: URLs are taken here; give a file as "
                '{"type": "image", "image": path}',
                part.param,
            )
        return data

    def _load(self, media: MediaInput, placed: PlacedImage, facts: EngineFacts) -> MediaPayload:
        content = placed.image.content
        if isinstance(content, Features):
            return content.to_payload()
        if self._tier is not None:
            stored = find_features(self._tier, media, facts)
            if stored is not None:
                return stored.to_payload()
        assert isinstance(content, bytes | Image.Image)
        read = self._identifier
        with naming_image(placed.image.param):
            return prepare_image(
                content, placed.view.preprocessor, read.limits, read.background
            ).payload


def load_picture(source: Any, param: str, limits: MediaLimits) -> Image.Image:
    """An upright RGB picture from a PIL image or a path. Raises ImageError or RequestError."""
    with naming_image(param):
        if isinstance(source, Image.Image):
            return upright(source, limits)
        return decode_image(_read_path(source, param, limits), limits)


def _read_path(source: Any, param: str, limits: MediaLimits) -> bytes:
    """Raises MediaError for a file that is too large, and RequestError."""
    if not isinstance(source, str | Path):
        raise RequestError(f"{param} must be a picture or a path, not {type(source)}", param)
    try:
        with open(source, "rb") as file:
            # A device or a pipe may go on for ever.
            data = file.read(limits.max_bytes + 1)
            num_bytes = max(len(data), os.fstat(file.fileno()).st_size)
    except (OSError, ValueError) as error:  # the latter for a null character
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"{param}: {source} can't be read: {reason}", param) from error
    check_file_size(num_bytes, limits)
    return data
