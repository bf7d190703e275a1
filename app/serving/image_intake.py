"""The images of a request, from wherever they are, as far as their headers: nothing is decoded."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...core.contracts.specs import ImageSize
from ...core.encoder_store.feature_file import read_feature_file
from ...core.encoder_store.media_key import content_key, features_content_key
from ...core.media.sources.data_url import read_data_url
from ...core.media.sources.fetch import MediaFetcher
from ...core.media.sources.local_files import LocalFiles
from ...core.media_pool.image_reader import ImageReader
from ...core.observe.media_metrics import MediaMetrics
from ...core.process.together import together
from ...core.prompts.image_part import ImagePart
from ...core.prompts.image_views import ImageInput
from ...core.protocol.errors import ImageError, ImageNotCachedError, RequestError
from ...core.protocol.media_error import MediaError
from .image_aliases import ImageAliases, KnownImage

_MAX_KNOWN_SIZES = 65_536
#: Of any but a data: URL; what reads them takes its time with each character.
_MAX_URL_LENGTH = 8192

#: Gives the size that an image of given features is taken to have, or raises RequestError with
#: the name of the part.
SizeOfFeatures = Callable[[str], ImageSize]


@dataclass(frozen=True)
class IntakeLimits:
    """max_images: in one request. max_bytes: of each. decode_fingerprint: see `media.decode`."""

    max_images: int
    max_bytes: int
    decode_fingerprint: str


class ImageIntake:
    """Reads parts into ImageInputs, those of one request side by side."""

    def __init__(
        self,
        reader: ImageReader,
        fetcher: MediaFetcher,
        local_files: LocalFiles,
        limits: IntakeLimits,
        metrics: MediaMetrics,
    ) -> None:
        self._reader = reader
        self._fetcher = fetcher
        self._local_files = local_files
        self._limits = limits
        self._metrics = metrics
        self._aliases = ImageAliases()
        self._sizes: OrderedDict[str, ImageSize] = OrderedDict()

    async def read(
        self,
        parts: Sequence[ImagePart | ImageInput],
        cache_salt: str,
        size_of_features: SizeOfFeatures | None = None,
    ) -> list[ImageInput]:
        """In the order of the parts; those that are read already stay as they are.

        cache_salt: within which clients' names are kept.
        size_of_features: of an image of which only features are given; None if no part has any.

        Raises RequestError, naming the part at fault.
        """
        if len(parts) > self._limits.max_images:
            raise RequestError(
                f"{parts[self._limits.max_images].param}: the request has {len(parts)} images, "
                f"more than the {self._limits.max_images} allowed; send fewer",
                parts[self._limits.max_images].param,
            )
        return await together(self._read(p, cache_salt, size_of_features) for p in parts)

    async def read_file(self, data: bytes, param: str) -> ImageInput:
        """An uploaded file. Raises ImageError."""
        try:
            return await self._identify(data, ImagePart(param))
        except MediaError as error:
            raise ImageError(error, param) from error

    async def _read(
        self, part: ImagePart | ImageInput, salt: str, size_of_features: SizeOfFeatures | None
    ) -> ImageInput:
        if isinstance(part, ImageInput):
            return part
        try:
            if part.features is not None:
                assert size_of_features is not None
                return await asyncio.to_thread(self._read_features, part, size_of_features)
            if part.url is None:
                return self._recall(part, salt)
            image = await self._identify(await self._get(part.url), part)
        except MediaError as error:
            raise ImageError(error, part.param) from error
        if part.uuid is not None:
            known = KnownImage(image.content_key, image.size, image.detail)
            self._aliases.add(salt, part.uuid, known)
        return image

    async def _get(self, url: str) -> bytes:
        """The bytes of an image file. Raises MediaError."""
        started = time.monotonic()
        scheme = url[:8].lower()
        if scheme.startswith("data:"):
            data = await asyncio.to_thread(read_data_url, url, self._limits.max_bytes)
        elif len(url) > _MAX_URL_LENGTH:
            raise MediaError(
                f"the url has {len(url)} characters, more than the {_MAX_URL_LENGTH} that may name "
                "an image elsewhere; send the image itself in a data: URL"
            )
        elif scheme.startswith("file:"):
            data = await asyncio.to_thread(self._local_files.read, url)
        elif scheme.startswith(("http://", "https://")):
            data = await self._fetcher.fetch(url)
        else:
            raise MediaError("the url must be a data:, http:, https: or file: URL")
        self._metrics.observe_stage("fetch", time.monotonic() - started)
        return data

    async def _identify(self, data: bytes, part: ImagePart) -> ImageInput:
        """Its name and size; the header of a file that was seen before is not read again."""
        fingerprint = self._limits.decode_fingerprint
        key = await asyncio.to_thread(content_key, data, fingerprint)
        size = self._sizes.get(key)
        if size is None:
            size = await self._reader.inspect(data)
            self._sizes[key] = size
            if len(self._sizes) > _MAX_KNOWN_SIZES:
                self._sizes.popitem(last=False)
        return ImageInput(size, key, part.param, data, part.detail, part.uuid)

    def _recall(self, part: ImagePart, salt: str) -> ImageInput:
        assert part.uuid is not None
        known = self._aliases.find(salt, part.uuid)
        if known is None:
            raise ImageNotCachedError(part.uuid, part.param)
        return ImageInput(known.size, known.content_key, part.param, None, known.detail, part.uuid)

    def _read_features(self, part: ImagePart, size_of_features: SizeOfFeatures) -> ImageInput:
        try:
            data = base64.b64decode(part.features, validate=True)
        except (binascii.Error, ValueError) as error:
            raise MediaError(f"the features are no valid base64: {error}") from error
        features = read_feature_file(data)
        size = part.size or size_of_features(part.param)
        return ImageInput(size, features_content_key(features, size), part.param, features)
