"""The embedder behind a server: in a process that is given batches, watched and restarted."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ..client.admission import Admission
from ..client.preparation import Preparation
from ..process.supervisor import Supervisor
from ..protocol.errors import EngineDeadError, RequestFailedError
from ..protocol.shared_array import SharedArray
from .batch_queue import BatchQueue, Job, to_message
from .embedder_messages import Embedded, EmbedderReady, EmbedderSettings, Embedding
from .embedding_metrics import EmbeddingMetrics

_MODULE = "octavo.core.embedding.embedding_process"


class AsyncEmbedder:
    """To be used from one event loop: `launch`, `wait_until_ready`, then requests, at last `stop`.
    What comes while a batch runs makes up the next ones.

    max_open: requests that may be open. stall_timeout: see StallWatch.
    """

    def __init__(
        self,
        settings: EmbedderSettings,
        metrics: EmbeddingMetrics,
        max_open: int,
        stall_timeout: float,
    ) -> None:
        self._metrics = metrics
        self._admission = Admission(max_open)
        self._ids = map(str, itertools.count())
        self._queue = BatchQueue()
        self._running: list[Job] = []
        self._child: Supervisor[EmbedderReady, Embedded] = Supervisor(
            _MODULE,
            settings,
            EmbedderReady,
            Embedded,
            stall_timeout,
            on_message=self._take,
            on_death=self._mourn,
        )

    @property
    def alive(self) -> bool:
        """Whether requests can be taken now."""
        return self._child.alive

    @property
    def pid(self) -> int | None:
        """The process id of the embedder's process, if there is one."""
        return self._child.pid

    @property
    def ready(self) -> EmbedderReady:
        """What the present process has loaded, or the last one had."""
        assert self._child.ready is not None
        return self._child.ready

    def launch(self) -> None:
        """Start the process; it loads its model while the caller does other things."""
        self._child.launch()

    async def wait_until_ready(self) -> EmbedderReady:
        """Wait until the model is loaded. Raises ConfigError if it can't be."""
        return await self._child.wait_until_ready()

    async def stop(self) -> None:
        """End the process; requests that are open fail."""
        self._fail_all(EngineDeadError("the server is shutting down"))
        await self._child.stop()

    @contextmanager
    def admission(
        self, client: str, weight: float = 1.0, background: bool = False
    ) -> Iterator[None]:
        """A client's request is open, from its arrival to its end. weight: of the client. One in
        the background takes no other's place: who sends it bounds their number.

        Raises EngineOverloadedError or EngineDeadError if it can't be taken now; the former also if
        its place goes to another client.
        """
        self._child.check_alive()
        if background:
            yield
            return
        request_id = next(self._ids)
        try:
            with (
                Preparation() as preparation,
                self._admission.enter(request_id, client, 1, weight, preparation.refuse),
            ):
                self._metrics.record_open(self._admission.num_open)
                yield
        finally:
            self._metrics.record_open(self._admission.num_open)

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
        self._child.check_alive()
        loop = asyncio.get_running_loop()
        job = Job(item, client, loop.create_future())
        self._queue.add(job)
        # After what else is ready to run, so that the items of one request begin together.
        loop.call_soon(self._send_batch)
        embedding = await job.result
        if embedding.vector is None:
            raise RequestFailedError(embedding.failure)
        return embedding

    def _send_batch(self) -> None:
        if self._running or not self._child.alive:
            return
        self._running = self._queue.take_batch()
        if self._running:
            self._child.send(to_message(self._running))

    def _take(self, message: Embedded) -> None:
        self._finish_batch(message)
        self._send_batch()

    def _finish_batch(self, message: Embedded) -> None:
        jobs, self._running = self._running, []
        num_images = sum(isinstance(job.item, SharedArray) for job in jobs)
        self._metrics.record_batch(len(jobs) - num_images, num_images, message.seconds)
        for job, embedding in zip(jobs, message.embeddings, strict=True):
            if not job.result.done():
                job.result.set_result(embedding)

    def _mourn(self, error: EngineDeadError) -> None:
        self._metrics.record_restart()
        self._fail_all(error)

    def _fail_all(self, error: EngineDeadError) -> None:
        jobs, self._running = [*self._running, *self._queue.take_all()], []
        for job in jobs:
            if not job.result.done():
                job.result.set_exception(error)
