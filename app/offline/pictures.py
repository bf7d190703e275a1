"""The images of offline callers: pictures, paths, data: URLs and features, read in this process."""

from __future__ import annotations

from typing import Any

from PIL import Image

from ...core.encoder_store.features import Features
from ...core.encoder_store.find_features import find_features
from ...core.encoder_store.tier import StoreTier
from ...core.media.decode import decode_image
from ...core.media.headers.image_header import read_header
from ...core.media_pool.prepare_image import prepare_image
from ...core.prompts.image_part import ImagePart
from ...core.prompts.image_views import PlacedImage
from ...core.prompts.input_processor import BuiltRequest, InputProcessor
from ...core.prompts.sized_image import SizedImage
from ...core.protocol.config import EngineConfig
from ...core.protocol.errors import ImageNotCachedError
from ...core.protocol.media_limits import MediaLimits
from ...core.protocol.messages import EngineFacts, EngineRequest, MediaInput, MediaPayload
from ...core.protocol.request_error import naming_image
from ..serving.image_identifier import ImageIdentifier, upright
from .image_files import ImageFiles
from .url_reader import UrlReader


class PictureReader:
    """Reads parts, and loads what requests show. tier: a store to look for features in first.
    urls: see ImageFiles; this closes it."""

    def __init__(
        self, config: EngineConfig, tier: StoreTier | None, urls: UrlReader | None = None
    ) -> None:
        self._identifier = ImageIdentifier(config)
        self._files = ImageFiles(config.media_limits, urls)
        self._tier = tier

    def read(self, parts: list[ImagePart], inputs: InputProcessor) -> list[SizedImage]:
        """In order. Raises RequestError, naming the part at fault."""
        self._identifier.check_number(parts)
        return [self._read(part, inputs) for part in parts]

    def load(
        self, built: BuiltRequest, loaded: dict[str, MediaPayload] | None = None
    ) -> EngineRequest:
        """The request with its payloads. loaded: those that there are already, by media key; it
        gets the others. Raises ImageError."""
        loaded = {} if loaded is None else loaded
        for media in built.request.media:
            key = media.media_key
            if key not in loaded:
                loaded[key] = self._load(media, built.images[key], built.facts)
        return built.with_payloads(loaded)

    def close(self) -> None:
        """Let connections go."""
        self._files.close()
        if self._tier is not None:
            self._tier.close()

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
        if part.url is not None:
            return self._files.read_url(part.url, part.param)
        if part.uuid is not None:
            raise ImageNotCachedError(part.uuid, part.param)
        if isinstance(part.picture, bytes):
            return part.picture
        return self._files.read(part.picture, part.param)

    def _load(self, media: MediaInput, placed: PlacedImage, facts: EngineFacts) -> MediaPayload:
        content = placed.image.content
        if isinstance(content, Features):
            return content.to_payload("request")
        if self._tier is not None:
            stored = find_features(self._tier, media, facts)
            if stored is not None:
                return stored.to_payload(self._tier.name)
        assert isinstance(content, bytes | Image.Image)
        read = self._identifier
        with naming_image(placed.image.param):
            return prepare_image(
                content, placed.view.preprocessor, read.limits, read.background
            ).payload


def load_picture(source: Any, param: str, limits: MediaLimits) -> Image.Image:
    """An upright RGB picture from a PIL image, a path, or a data: or file: URL. Raises ImageError
    or RequestError."""
    with naming_image(param):
        if isinstance(source, Image.Image):
            return upright(source, limits)
        return decode_image(ImageFiles(limits).read(source, param), limits)
