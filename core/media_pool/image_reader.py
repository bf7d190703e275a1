"""What a server asks of its pool: sizes, pixel values and pictures of image files."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from ..contracts.specs import ImageSize
from ..protocol.config import EngineConfig
from ..protocol.messages import PixelInput
from ..protocol.shared_array import SharedArray
from .host import WorkerHost
from .jobs import (
    Answer,
    Decoded,
    DecodeJob,
    Inspected,
    InspectJob,
    Prepared,
    PrepareJob,
    WorkerSettings,
)
from .pool import WorkerLane
from .pool_size import PoolSize

#: Headers are quick, and a file whose header is not must not hold up others for long.
_INSPECT_TIMEOUT_S = 5.0
_MAX_INSPECTED = 1024

#: Is told the name of a stage and its seconds.
Observe = Callable[[str, float], None]


class ImageReader:
    """Reads headers in one process and pictures in others, so that a repeated image need not wait
    until new ones are decoded. A file is copied into shared memory once for both; what comes of
    it stays in the worker's memory when it is sent on."""

    def __init__(
        self,
        settings: WorkerSettings,
        size: PoolSize,
        observe: Observe,
        stall_timeout: float = EngineConfig.engine_stall_timeout,
    ) -> None:
        self._observe = observe
        self._host = WorkerHost(settings, stall_timeout)
        workers = size.num_workers or len(os.sched_getaffinity(0))
        self._headers = WorkerLane("header", self._host, 1, _MAX_INSPECTED, _INSPECT_TIMEOUT_S)
        self._pictures = WorkerLane("picture", self._host, workers, size.max_queued, size.timeout)

    async def wait_until_ready(self) -> None:
        """Wait until pictures can be read. Raises ConfigError if they can't be."""
        await asyncio.shield(asyncio.wrap_future(self._host.first_start))

    async def inspect(self, file: SharedArray) -> ImageSize:
        """The upright picture's size. Raises MediaError."""
        started = time.monotonic()
        answer = await _result(self._headers.submit(InspectJob(file)))
        assert isinstance(answer, Inspected)
        self._observe("inspect", time.monotonic() - started)
        return ImageSize(answer.width, answer.height)

    async def prepare(self, file: SharedArray, num_images: int, limit: int | None) -> PixelInput:
        """Pixel values for the encoder; see `image_views.derive`. Raises MediaError."""
        started = time.monotonic()
        job = PrepareJob(file, num_images, limit)
        answer = await _result(self._pictures.submit(job))
        assert isinstance(answer, Prepared)
        file.let_go()
        self._observe_stages(answer.seconds, started)
        return answer.payload

    async def decode(self, file: SharedArray) -> NDArray[np.uint8]:
        """An upright RGB picture, [height, width, 3]. Raises MediaError."""
        started = time.monotonic()
        answer = await _result(self._pictures.submit(DecodeJob(file)))
        assert isinstance(answer, Decoded)
        file.let_go()
        self._observe_stages(answer.seconds, started)
        return answer.pixels.array

    def stop(self) -> None:
        """End all processes."""
        lanes = (self._headers, self._pictures)
        for lane in lanes:
            lane.close()
        self._host.stop()
        for lane in lanes:
            lane.join()

    def _observe_stages(self, seconds: dict[str, float], started: float) -> None:
        for stage, duration in seconds.items():
            self._observe(stage, duration)
        # The rest was spent in the queue and on the way.
        self._observe("pool", time.monotonic() - started - sum(seconds.values()))


async def _result(future: Future[Answer]) -> Answer:
    return await asyncio.wrap_future(future)
