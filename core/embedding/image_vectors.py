"""Gets the vectors of images: from memory, from the store, or by decoding and embedding.

Vectors are cached as features of one row, under the same kind of key as an encoder's.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..encoder_store.features import Features
from ..encoder_store.find_features import find_fitting
from ..encoder_store.media_key import features_key
from ..encoder_store.memory_store import MemoryStore
from ..encoder_store.tier import NUM_STORE_THREADS, StoreTier, TierSettings
from ..encoder_store.write_behind import WriteBehind
from ..media_pool.image_reader import ImageReader
from ..observe.media_metrics import MediaMetrics
from ..process.flights import Flights
from ..prompts.sized_image import SizedImage
from ..protocol.errors import ImageError, ImageNotCachedError
from ..protocol.media_error import MediaError
from ..protocol.messages import StoreWrites
from ..protocol.shared_array import SharedArray
from .async_embedder import AsyncEmbedder
from .byte_budget import ByteBudget

Vector = NDArray[np.float32]

#: Pictures that are being decoded or wait to be embedded; beyond this, new ones wait.
_MAX_PENDING_BYTES = 512 * 2**20
_LAST_WRITES_S = 2.0


class ImageVectors:
    """To be used from one event loop, until `close`. memory_bytes: for vectors in this process;
    tier: a store that processes share."""

    def __init__(
        self,
        embedder: AsyncEmbedder,
        reader: ImageReader,
        memory_bytes: int,
        tier: StoreTier | None,
        metrics: MediaMetrics,
    ) -> None:
        self._embedder = embedder
        self._reader = reader
        self._memory = StoreTier(
            "memory", MemoryStore(memory_bytes), TierSettings(ttl_seconds=None)
        )
        self._tier = tier
        self._writer = None if tier is None else WriteBehind(tier)
        self._metrics = metrics
        self._budget = ByteBudget(_MAX_PENDING_BYTES)
        self._flights: Flights[Vector] = Flights(lambda vector: vector.nbytes)
        self._threads = ThreadPoolExecutor(NUM_STORE_THREADS, "octavo-store")

    async def get(self, image: SizedImage, client: str) -> Vector:
        """[dimension]. Images that are asked for at once are computed once. client: who asks.

        Raises ImageError, ImageNotCachedError for an image that only the caches could have, and
        what AsyncEmbedder raises.
        """
        key = self._key(image)
        features = self._memory.get(key)
        self._metrics.count_lookup("memory", features is not None)
        if features is not None:
            return _to_vector(features)
        # One who has only a name must not fail one who has the image.
        name = key if image.content is not None else f"{key}?"
        flight = self._flights.join(name, lambda: self._obtain(key, image, client))
        try:
            return await flight.landed()
        except MediaError as error:
            raise ImageError(error, image.param) from error
        finally:
            self._flights.leave(flight)

    def record(self) -> None:
        """Bring the metrics up to date."""
        if self._tier is None or self._writer is None:
            return
        stats = self._tier.stats
        self._metrics.record_reads(self._tier.name, stats)
        # Errors of both are counted with the reads, as one tier does both.
        writes = StoreWrites(stats.writes, stats.bytes_written, dropped=self._writer.dropped)
        self._metrics.record_writes(self._tier.name, writes)

    def close(self) -> None:
        """Write what waits, for a moment, and let connections go."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._writer is not None:
            self._writer.close(_LAST_WRITES_S)
        if self._tier is not None:
            self._tier.close()

    def _key(self, image: SizedImage) -> str:
        ready = self._embedder.ready
        return features_key(image.content_key, ready.fingerprint, ready.digest)

    async def _obtain(self, key: str, image: SizedImage, client: str) -> Vector:
        """Raises MediaError, ImageNotCachedError, and what AsyncEmbedder raises."""
        if self._tier is not None:
            features = await self._look_up(self._tier, key)
            if features is not None:
                self._memory.put(key, features)
                return _to_vector(features)
        if image.content is None:
            raise ImageNotCachedError(image.uuid or "", image.param)
        assert isinstance(image.content, SharedArray)
        async with self._budget.hold(3 * image.size.width * image.size.height):
            picture = await self._reader.decode(image.content)
            vector = await self._embedder.embed_image(picture, client)
        self._keep(self._key(image), vector)
        return vector

    async def _look_up(self, tier: StoreTier, key: str) -> Features | None:
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        look_up = partial(find_fitting, tier, key, (1, self._embedder.ready.dimension), "float32")
        features = await loop.run_in_executor(self._threads, look_up)
        self._metrics.count_lookup(tier.name, features is not None)
        self._metrics.observe_stage("lookup", time.monotonic() - started)
        return features

    def _keep(self, key: str, vector: Vector) -> None:
        """key: of the process that gave the vector, which may be another than when it was asked
        for, with other weights."""
        features = Features("float32", vector[np.newaxis])
        self._memory.put(key, features)
        if self._writer is not None:
            self._writer.submit(key, features)


def _to_vector(features: Features) -> Vector:
    vector: Vector = features.array[0]
    return vector
