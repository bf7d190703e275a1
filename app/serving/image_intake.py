"""The images of a request, from wherever they are, as far as their headers: nothing is decoded."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from ...core.contracts.specs import ImageSize
from ...core.encoder_store.media_key import scoped_key
from ...core.media.sources.fetch import MediaFetcher
from ...core.media.sources.local_files import LocalFiles
from ...core.media_pool.image_reader import ImageReader
from ...core.observe.media_metrics import MediaMetrics
from ...core.process.together import together
from ...core.prompts.image_part import ImagePart
from ...core.prompts.sized_image import SizedImage
from ...core.protocol.errors import ImageNotCachedError
from ...core.protocol.media_error import MediaError
from ...core.protocol.request_error import naming_image
from ...core.protocol.shared_array import SharedArray
from .image_aliases import ImageAliases
from .image_identifier import ImageIdentifier, SizeOfFeatures

_MAX_KNOWN_SIZES = 65_536
#: Of any but a data: URL; what reads them takes its time with each character.
_MAX_URL_LENGTH = 8192


def num_pixels(images: Sequence[SizedImage]) -> int:
    """Of all of them together."""
    return sum(image.size.width * image.size.height for image in images)


class ImageIntake:
    """Reads parts into SizedImages, those of one request side by side."""

    def __init__(
        self,
        reader: ImageReader,
        fetcher: MediaFetcher,
        local_files: LocalFiles,
        identifier: ImageIdentifier,
        metrics: MediaMetrics,
    ) -> None:
        self._reader = reader
        self._fetcher = fetcher
        self._local_files = local_files
        self._identifier = identifier
        self._metrics = metrics
        self._aliases = ImageAliases()
        self._sizes: OrderedDict[str, ImageSize] = OrderedDict()

    async def read(
        self,
        parts: Sequence[ImagePart | SizedImage],
        cache_salt: str,
        size_of_features: SizeOfFeatures | None = None,
        cache_scope: str = "",
    ) -> list[SizedImage]:
        """In the order of the parts; those that are read already stay as they are.

        cache_salt: within which clients' names are kept. cache_scope: see RequestOptions.
        size_of_features: of an image of which only features are given; None if no part has any.

        Raises RequestError, naming the part at fault.
        """
        self._identifier.check_number(parts)
        return await together(
            self._read(part, cache_salt, size_of_features, cache_scope) for part in parts
        )

    async def read_file(self, data: bytes, param: str, cache_scope: str = "") -> SizedImage:
        """An uploaded file. cache_scope: see RequestOptions. Raises ImageError."""
        with naming_image(param):
            return await self._identify(data, ImagePart(param), cache_scope)

    async def _read(
        self,
        part: ImagePart | SizedImage,
        salt: str,
        size_of_features: SizeOfFeatures | None,
        scope: str,
    ) -> SizedImage:
        if isinstance(part, SizedImage):
            return part
        with naming_image(part.param):
            if part.features is not None:
                assert size_of_features is not None
                of_features = self._identifier.of_features
                given = await asyncio.to_thread(of_features, part, size_of_features)
                return replace(given, content_key=scoped_key(given.content_key, scope))
            if part.url is None:
                return self._recall(part, salt)
            image = await self._identify(await self._get(part.url), part, scope)
        if part.uuid is not None:
            self._aliases.add(salt, part.uuid, image)
        return image

    async def _get(self, url: str) -> bytes:
        """The bytes of an image file. Raises MediaError."""
        started = time.monotonic()
        data = await asyncio.to_thread(self._identifier.read_data_url, url)
        if data is None:
            data = await self._get_from_elsewhere(url)
        self._metrics.observe_stage("fetch", time.monotonic() - started)
        return data

    async def _get_from_elsewhere(self, url: str) -> bytes:
        if len(url) > _MAX_URL_LENGTH:
            raise MediaError(
                f"the url has {len(url)} characters, more than the {_MAX_URL_LENGTH} that may name "
                "an image elsewhere; send the image itself in a data: URL"
            )
        scheme = url[:8].lower()
        if scheme.startswith("file:"):
            return await asyncio.to_thread(self._local_files.read, url)
        if scheme.startswith(("http://", "https://")):
            return await self._fetcher.fetch(url)
        raise MediaError("the url must be a data:, http:, https: or file: URL")

    async def _identify(self, data: bytes, part: ImagePart, scope: str) -> SizedImage:
        """Its name and size; the header of a file that was seen before is not read again."""
        key = scoped_key(await asyncio.to_thread(self._identifier.content_key, data), scope)
        file = SharedArray.of_file(data)
        size = self._sizes.get(key)
        if size is None:
            size = await self._reader.inspect(file)
            self._sizes[key] = size
            if len(self._sizes) > _MAX_KNOWN_SIZES:
                self._sizes.popitem(last=False)
        return SizedImage(size, key, part.param, file, part.detail, part.uuid)

    def _recall(self, part: ImagePart, salt: str) -> SizedImage:
        assert part.uuid is not None
        known = self._aliases.find(salt, part.uuid)
        if known is None:
            raise ImageNotCachedError(part.uuid, part.param)
        return replace(known, param=part.param)
