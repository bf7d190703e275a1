"""Gets the images of requests to the engine: nothing, features from the store, or pixel values.

resident in the engine?  -> nothing is sent
in the store?            -> its features are
another process at it?   -> wait for its features, for a while
else                     -> decode and preprocess, under a lease of our own
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import msgspec

from ..encoder_store.features import Features
from ..encoder_store.find_features import find_features
from ..encoder_store.tier import NUM_STORE_THREADS, StoreTier
from ..media_pool.image_reader import ImageReader
from ..observe.media_metrics import MediaMetrics
from ..process.flights import Flight, Flights
from ..prompts.image_views import PlacedImage
from ..prompts.input_processor import BuiltRequest
from ..prompts.sized_image import SizedImage
from ..protocol.errors import ImageError, ImageNotCachedError
from ..protocol.media_error import MediaError
from ..protocol.messages import EngineFacts, MediaEvents, MediaInput, MediaPayload, StoreWrites
from ..protocol.shared_array import SharedArray
from .loaded_request import LoadedRequest

Result = TypeVar("Result")
LookUp = Callable[[], Features | None]

#: Payloads that were made and not encoded yet; beyond this, new ones wait.
_MAX_PENDING_BYTES = 512 * 2**20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.1
#: For another process that holds the lease of an image.
_LONGEST_WAIT_S = 5.0
#: How often leases are renewed; well within the time that one lasts.
_RENEWAL_S = 1.0


class MediaLoader:
    """To be used from one event loop, from `start` to `stop`."""

    def __init__(self, reader: ImageReader, tier: StoreTier | None, metrics: MediaMetrics) -> None:
        self._reader = reader
        self._tier = tier
        self._metrics = metrics
        self._resident: set[str] = set()
        self._flights: Flights[MediaPayload] = Flights(_num_bytes)
        self._owner = uuid.uuid4().hex
        self._leased: set[str] = set()
        self._threads = ThreadPoolExecutor(NUM_STORE_THREADS, "octavo-store")
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
            self._flights.end(key)

    @asynccontextmanager
    async def loading(self, built: BuiltRequest) -> AsyncIterator[LoadedRequest]:
        """The request with its payloads. Until the end, images that it shows are kept for others
        that show them too. Raises RequestError for an image that can't be had."""
        await self._flights.wait_for_room(_MAX_PENDING_BYTES)
        flights: dict[str, Flight[MediaPayload]] = {}
        try:
            for media in built.request.media:
                key = media.media_key
                if not self._is_resident(key):
                    flights[key] = self._join(media, built)
            yield LoadedRequest(built.request, await _all_landed(flights, built))
        finally:
            for key, flight in flights.items():
                self._leave(key, flight)

    async def reload(self, built: BuiltRequest, media_key: str) -> MediaInput:
        """An image that the engine no longer has. Raises RequestError if it can't be had."""
        (media,) = (item for item in built.request.media if item.media_key == media_key)
        flight = self._join(media, built)
        try:
            payload = await _landed(flight, built.images[media_key].image)
            return msgspec.structs.replace(media, payload=payload)
        finally:
            self._leave(media_key, flight)

    def _is_resident(self, key: str) -> bool:
        found = key in self._resident
        self._metrics.count_lookup("memory", found)
        return found

    def _join(self, media: MediaInput, built: BuiltRequest) -> Flight[MediaPayload]:
        placed = built.images[media.media_key]
        # One who can't show the image must not fail those who can.
        name = media.media_key if placed.image.content is not None else f"{media.media_key}?"
        return self._flights.join(name, lambda: self._obtain(media, placed, built.facts))

    def _leave(self, key: str, flight: Flight[MediaPayload]) -> None:
        if self._flights.leave(flight) and key in self._leased:
            self._leased.discard(key)
            assert self._tier is not None
            with contextlib.suppress(RuntimeError):  # stopped; leases end by themselves
                self._threads.submit(self._tier.release, key, self._owner)

    async def _obtain(
        self, media: MediaInput, placed: PlacedImage, facts: EngineFacts
    ) -> MediaPayload:
        """Raises MediaError, or RequestError where there is nothing to make it from."""
        content = placed.image.content
        if isinstance(content, Features):
            return content.to_payload("request")
        if self._tier is not None:
            look_up = partial(find_features, self._tier, media, facts)
            features = await self._from_store(
                self._tier, media.media_key, look_up, may_wait=content is not None
            )
            self._metrics.count_lookup(self._tier.name, features is not None)
            if features is not None:
                return features.to_payload(self._tier.name)
        if content is None:
            raise ImageNotCachedError(placed.image.uuid or "", placed.image.param)
        assert isinstance(content, SharedArray)
        return await self._reader.prepare(content, placed.view.num_images, placed.view.limit)

    async def _from_store(
        self, tier: StoreTier, key: str, look_up: LookUp, may_wait: bool
    ) -> Features | None:
        """None if we are to compute them. may_wait: for another process that computes them, which
        one who can't compute them would do in vain."""
        started = time.monotonic()
        try:
            features = await self._in_thread(look_up)
            if features is not None or not may_wait:
                return features
            pause = _FIRST_PAUSE_S
            while not await self._in_thread(tier.lease, key, self._owner):
                if time.monotonic() - started > _LONGEST_WAIT_S:
                    return None  # it may have much else to do
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                features = await self._in_thread(look_up)
                if features is not None:
                    return features
            self._leased.add(key)
            # They may have been written just before the lease was free.
            return await self._in_thread(look_up)
        finally:
            self._metrics.observe_stage("lookup", time.monotonic() - started)

    async def _renew_leases(self, tier: StoreTier) -> None:
        while True:
            await asyncio.sleep(_RENEWAL_S)
            for key in list(self._leased):
                await self._in_thread(tier.lease, key, self._owner)

    async def _in_thread(self, call: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)


def _num_bytes(payload: MediaPayload) -> int:
    return payload.num_bytes


def _landed(flight: Flight[MediaPayload], image: SizedImage) -> Coroutine[Any, Any, MediaPayload]:
    """The payload, for one of its users. Raises RequestError, which names the user's image."""
    return _naming(flight.landed(), image)


async def _naming(landed: Coroutine[Any, Any, MediaPayload], image: SizedImage) -> MediaPayload:
    try:
        return await landed
    except MediaError as error:
        raise ImageError(error, image.param) from error
    except ImageNotCachedError as error:
        raise ImageNotCachedError(image.uuid or "", image.param) from error


async def _all_landed(
    flights: dict[str, Flight[MediaPayload]], built: BuiltRequest
) -> dict[str, MediaPayload]:
    payloads = await asyncio.gather(
        *(_landed(flight, built.images[key].image) for key, flight in flights.items())
    )
    return dict(zip(flights, payloads, strict=True))
