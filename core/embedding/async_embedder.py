"""The embedder behind a server: in a process that is given batches, watched and restarted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ..process.child_process import ChildProcess, Spawned
from ..process.restart_pause import RestartPause
from ..protocol.config import ConfigError
from ..protocol.errors import EngineDeadError, EngineOverloadedError, RequestFailedError
from ..protocol.messages import StartFailed
from ..protocol.shared_array import SharedArray
from .batch_queue import BatchQueue, Job, to_message
from .embedding_metrics import EmbeddingMetrics
from .messages import Embedded, EmbedderReady, EmbedderSettings, Embedding, FromEmbedder

logger = logging.getLogger(__name__)

_MODULE = "octavo.core.embedding.embedding_process"


class AsyncEmbedder:
    """To be used from one event loop. What comes while a batch runs makes up the next ones.

    max_open: requests that may be open. stall_timeout: see StallWatch.
    """

    def __init__(
        self,
        settings: EmbedderSettings,
        metrics: EmbeddingMetrics,
        max_open: int,
        stall_timeout: float,
    ) -> None:
        self._settings = settings
        self._stall_timeout = stall_timeout
        self._metrics = metrics
        self._max_open = max_open
        self._num_open = 0
        self._queue = BatchQueue()
        self._running: list[Job] = []
        self._process: ChildProcess[FromEmbedder] | None = None
        self._first_start: asyncio.Future[EmbedderReady] | None = None
        self._alive = False
        self._restart_pause = RestartPause()
        self._stopping = False
        self._start_error = ""
        self._ready: EmbedderReady | None = None

    @property
    def healthy(self) -> bool:
        """Whether requests can be taken now."""
        return self._alive

    @property
    def pid(self) -> int | None:
        """The process id of the embedder's process, if there is one."""
        return self._process.pid if self._process is not None else None

    @property
    def ready(self) -> EmbedderReady:
        """What the present process has loaded, or the last one had."""
        assert self._ready is not None
        return self._ready

    def launch(self) -> None:
        """Start the process; it loads its model while the caller does other things."""
        self._first_start = asyncio.get_running_loop().create_future()
        self._spawn()

    async def wait_until_ready(self) -> EmbedderReady:
        """Wait until the model is loaded. Raises ConfigError if it can't be."""
        assert self._first_start is not None
        return await self._first_start

    async def stop(self) -> None:
        """End the process; requests that are open fail."""
        self._stopping = True
        self._fail_all("the server is shutting down")
        if self._process is not None:
            await asyncio.to_thread(self._process.stop)

    @contextmanager
    def admission(self) -> Iterator[None]:
        """A request is open, from its arrival to its end.

        Raises EngineOverloadedError or EngineDeadError if it can't be taken now.
        """
        self._check_alive()
        if self._num_open >= self._max_open:
            raise EngineOverloadedError(
                f"{self._num_open} requests are open, as many as run at once and wait here; "
                "send the request again later"
            )
        self._num_open += 1
        self._metrics.record_open(self._num_open)
        try:
            yield
        finally:
            self._num_open -= 1
            self._metrics.record_open(self._num_open)

    async def embed_text(self, text: str, client: str) -> Embedding:
        """client: who asks; clients take turns.

        Raises EngineDeadError, or RequestFailedError if the model fails on it.
        """
        return await self._embed(text, client)

    async def embed_image(self, picture: NDArray[np.uint8], client: str) -> NDArray[np.float32]:
        """An upright RGB picture, [height, width, 3] -> [dimension]. As `embed_text`."""
        embedding = await self._embed(SharedArray(picture), client)
        assert embedding.vector is not None
        return embedding.vector.array

    async def _embed(self, item: str | SharedArray, client: str) -> Embedding:
        self._check_alive()
        loop = asyncio.get_running_loop()
        job = Job(item, client, loop.create_future())
        self._queue.add(job)
        # After what else is ready to run, so that the items of one request begin together.
        loop.call_soon(self._send_batch)
        embedding = await job.result
        if embedding.vector is None:
            raise RequestFailedError(embedding.failure)
        return embedding

    def _check_alive(self) -> None:
        if not self._alive:
            seconds = self._restart_pause.retry_after
            message = f"the engine is restarting; send the request again in {seconds} s"
            raise EngineDeadError(message, seconds)

    def _send_batch(self) -> None:
        if self._running or not self._alive:
            return
        self._running = self._queue.take_batch()
        if self._running:
            assert self._process is not None
            self._process.send(to_message(self._running))

    def _spawn(self) -> None:
        loop = asyncio.get_running_loop()
        self._restart_pause.started()

        def post(callback: Callable[[], None]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(callback)

        self._process = ChildProcess(
            Spawned(_MODULE),
            self._settings,
            FromEmbedder,
            on_message=lambda message: post(lambda: self._take(message)),
            on_exit=lambda reason: post(lambda: self._bury(reason)),
            stall_timeout=self._stall_timeout,
        )

    def _take(self, message: FromEmbedder) -> None:
        if isinstance(message, Embedded):
            self._finish_batch(message)
            self._send_batch()
        elif isinstance(message, StartFailed):
            self._start_error = message.message
        else:
            self._alive = True
            self._restart_pause.loaded()
            self._ready = message
            if self._first_start is not None and not self._first_start.done():
                self._first_start.set_result(message)

    def _finish_batch(self, message: Embedded) -> None:
        jobs, self._running = self._running, []
        num_images = sum(isinstance(job.item, SharedArray) for job in jobs)
        self._metrics.record_batch(len(jobs) - num_images, num_images, message.seconds)
        for job, embedding in zip(jobs, message.embeddings, strict=True):
            if not job.result.done():
                job.result.set_result(embedding)

    def _bury(self, reason: str) -> None:
        """The process has ended: tell who waits for it, and start another."""
        self._alive = False
        if self._stopping:
            return
        if self._ready is None:
            assert self._first_start is not None
            error = self._start_error or f"the engine died while it started: {reason}"
            self._first_start.set_exception(ConfigError(error))
            return
        logger.error("the engine's process died (%s); starting another", reason)
        pause = self._restart_pause.after_death()
        message = f"the engine died ({reason}) and the request with it"
        self._fail_all(message, self._restart_pause.retry_after)
        asyncio.get_running_loop().call_later(pause, self._respawn)

    def _fail_all(self, message: str, retry_after: int | None = None) -> None:
        jobs, self._running = [*self._running, *self._queue.take_all()], []
        for job in jobs:
            if not job.result.done():
                job.result.set_exception(EngineDeadError(message, retry_after))

    def _respawn(self) -> None:
        if not self._stopping:
            self._metrics.record_restart()
            self._spawn()
