"""Gets the images of requests to the engine: nothing, features from the store, or pixel values.

resident in the engine?  -> nothing is sent
in the store?            -> its features are
another process at it?   -> wait for its features, as long as its lease lasts
else                     -> decode and preprocess, under a lease of our own
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from ..encoder_store.features import Features
from ..encoder_store.tier import StoreTier
from ..media.media_error import MediaError
from ..media_pool.image_reader import ImageReader
from .errors import ImageError, ImageNotCachedError
from .feature_arrays import to_payload
from .image_views import ViewedImage
from .input_processor import BuiltRequest
from .media_metrics import MediaMetrics
from .messages import EngineRequest, MediaEvents, MediaInput, MediaPayload, StoreWrites

Result = TypeVar("Result")

#: Payloads that were made and not encoded yet; beyond this, new ones wait.
_MAX_PENDING_BYTES = 512 * 2**20
_STORE_THREADS = 16
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.1
#: A lease is renewed so long before it would end.
_RENEWAL_S = 1.0


class _Flight:
    """One image on its way, for all requests that show it.

    name: its media key; another for those who can't show it, and who must not fail those who can.
    """

    def __init__(self, name: str, work: Awaitable[MediaPayload]) -> None:
        self.name = name
        self.task = asyncio.ensure_future(work)
        self.num_users = 0

    @property
    def num_bytes(self) -> int:
        """Bytes of the payload, once it is there."""
        done = self.task.done() and not self.task.cancelled() and self.task.exception() is None
        return self.task.result().num_bytes if done else 0


class MediaLoader:
    """To be used from one event loop, from `start` to `stop`."""

    def __init__(self, reader: ImageReader, tier: StoreTier | None, metrics: MediaMetrics) -> None:
        self._reader = reader
        self._tier = tier
        self._metrics = metrics
        self._resident: set[str] = set()
        self._flights: dict[str, _Flight] = {}
        self._freed = asyncio.Event()
        self._owner = uuid.uuid4().hex
        self._leased: set[str] = set()
        self._threads = ThreadPoolExecutor(_STORE_THREADS, "octavo-store")
        self._renewal: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to renew leases."""
        if self._tier is not None:
            self._renewal = asyncio.ensure_future(self._renew_leases(self._tier))

    def stop(self) -> None:
        """Let threads and the store's connections go."""
        if self._renewal is not None:
            self._renewal.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._tier is not None:
            self._tier.close()

    def record(self, writes: StoreWrites) -> None:
        """Bring the metrics up to date. writes: what the engine wrote to the store."""
        if self._tier is not None:
            self._metrics.record_reads(self._tier.name, self._tier.stats)
            self._metrics.record_writes(self._tier.name, writes)

    def take_events(self, events: MediaEvents | None) -> None:
        """What became of images in the engine's last step; None if another engine begins."""
        if events is None:
            self._resident.clear()
            return
        self._resident.difference_update(events.evicted)
        self._resident.update(events.encoded)
        for key in events.encoded:
            # What was encoded is written to the store, which ends its lease.
            self._leased.discard(key)
            self._flights.pop(key, None)
        if events.encoded:
            self._freed.set()

    @asynccontextmanager
    async def loading(self, built: BuiltRequest) -> AsyncIterator[EngineRequest]:
        """The request with its payloads. Until the end, images that it shows are kept for others
        that show them too. Raises RequestError for an image that can't be had."""
        await self._wait_for_room()
        flights: dict[str, _Flight] = {}
        try:
            for media in built.request.media:
                key = media.media_key
                if not self._is_resident(key):
                    flights[key] = self._join(media, built.images[key])
            payloads = await asyncio.gather(
                *(_landed(flight, built.images[key]) for key, flight in flights.items())
            )
            found: dict[str, MediaPayload | None] = dict.fromkeys(built.images)
            yield built.with_payloads(found | dict(zip(flights, payloads, strict=True)))
        finally:
            for key, flight in flights.items():
                self._leave(key, flight)

    async def reload(self, built: BuiltRequest, media_key: str) -> MediaInput:
        """An image that the engine no longer has. Raises RequestError if it can't be had."""
        (media,) = (item for item in built.request.media if item.media_key == media_key)
        flight = self._join(media, built.images[media_key])
        try:
            payload = await _landed(flight, built.images[media_key])
            return msgspec.structs.replace(media, payload=payload)
        finally:
            self._leave(media_key, flight)

    def _is_resident(self, key: str) -> bool:
        found = key in self._resident
        self._metrics.count_lookup("memory", found)
        return found

    def _join(self, media: MediaInput, viewed: ViewedImage) -> _Flight:
        name = media.media_key if viewed.image.content is not None else f"{media.media_key}?"
        flight = self._flights.get(name)
        if flight is None:
            flight = self._flights[name] = _Flight(name, self._obtain(media, viewed))
        flight.num_users += 1
        return flight

    def _leave(self, key: str, flight: _Flight) -> None:
        flight.num_users -= 1
        if flight.num_users:
            return
        flight.task.cancel()
        if self._flights.get(flight.name) is flight:
            del self._flights[flight.name]
            self._freed.set()
        if key in self._leased:
            self._leased.discard(key)
            assert self._tier is not None
            with contextlib.suppress(RuntimeError):  # stopped; leases end by themselves
                self._threads.submit(self._tier.release, key, self._owner)

    async def _wait_for_room(self) -> None:
        while sum(flight.num_bytes for flight in self._flights.values()) > _MAX_PENDING_BYTES:
            self._freed.clear()
            await self._freed.wait()

    async def _obtain(self, media: MediaInput, viewed: ViewedImage) -> MediaPayload:
        """Raises MediaError, or RequestError where there is nothing to make it from."""
        content = viewed.image.content
        if isinstance(content, Features):
            return to_payload(content)
        if self._tier is not None:
            features = await self._from_store(self._tier, media, wait=content is not None)
            self._metrics.count_lookup(self._tier.name, features is not None)
            if features is not None:
                return to_payload(features)
        if content is None:
            raise ImageNotCachedError(viewed.image.uuid or "", viewed.image.param)
        assert isinstance(content, bytes)
        return await self._reader.prepare(content, viewed.view.num_images, viewed.view.limit)

    async def _from_store(self, tier: StoreTier, media: MediaInput, wait: bool) -> Features | None:
        """None if we are to compute them, as nobody else does. wait: whether we could."""
        started = time.monotonic()
        try:
            features = await self._look_up(tier, media)
            if features is not None or not wait:
                return features
            pause = _FIRST_PAUSE_S
            while not await self._in_thread(tier.lease, media.media_key, self._owner):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                features = await self._look_up(tier, media)
                if features is not None:
                    return features
            self._leased.add(media.media_key)
            # They may have been written just before the lease was free.
            return await self._look_up(tier, media)
        finally:
            self._metrics.observe_stage("lookup", time.monotonic() - started)

    async def _look_up(self, tier: StoreTier, media: MediaInput) -> Features | None:
        features = await self._in_thread(tier.get, media.media_key)
        fits = features is not None and len(features.array) == media.num_features
        return features if fits else None

    async def _renew_leases(self, tier: StoreTier) -> None:
        while True:
            await asyncio.sleep(_RENEWAL_S)
            for key in list(self._leased):
                await self._in_thread(tier.lease, key, self._owner)

    async def _in_thread(self, call: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)


async def _landed(flight: _Flight, viewed: ViewedImage) -> MediaPayload:
    """A flight's payload; it goes on for others if the caller leaves."""
    try:
        return await asyncio.shield(flight.task)
    except MediaError as error:
        raise ImageError(error, viewed.image.param) from error
