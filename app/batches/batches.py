"""A server's batches: made, cancelled, told of, and each run to its end, over restarts."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .answers import Ask
from .batch_life import BatchLife, Server
from .batch_store import Batch, Counts, LineError
from .input_file import LineRules
from .storage import Storage

logger = logging.getLogger(__name__)

WINDOW_S = 24 * 3600
MAX_REQUESTS = 50_000


class Batches:
    """Use from one event loop. Lines of all open batches take turns for a few slots.

    ask: sends a line. alive: whether requests are taken now. rules: what lines may ask for.
    max_lines: that run at once. clock: seconds of the epoch.
    """

    def __init__(
        self,
        storage: Storage,
        ask: Ask,
        alive: Callable[[], bool],
        rules: LineRules,
        max_lines: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rules = rules
        self.storage = storage
        self._clock = clock
        self._server = Server(storage, ask, alive, rules, asyncio.Semaphore(max_lines), clock)
        self._lives: dict[str, BatchLife] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._is_stopped = False

    async def resume(self) -> None:
        """Go on with what an earlier process left open; what is of another model waits for a
        server of that."""
        for batch in await asyncio.to_thread(self.storage.batches.open):
            if batch.model == self.rules.model:
                self._start(batch)
            else:
                logger.warning("%s waits for a server of %r", batch.id, batch.model)

    def stop(self) -> None:
        """End at once what runs; it is repeated when a server resumes."""
        self._is_stopped = True
        for task in self._tasks.values():
            task.cancel()

    async def close(self) -> None:
        """Stop, and let the folder go."""
        if not self._is_stopped:  # what ends must not be disturbed at it
            self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        await asyncio.to_thread(self.storage.close)

    async def create(
        self,
        input_file_id: str,
        endpoint: str,
        metadata: dict[str, str] | None,
        owner: str = "",
    ) -> Batch:
        """A batch of a file that is there. owner: see Batch. Raises OSError."""
        now = int(self._clock())
        batch = Batch(
            id=f"batch_{uuid.uuid4().hex}",
            endpoint=endpoint,
            input_file_id=input_file_id,
            model=self.rules.model,
            created_at=now,
            expires_at=now + WINDOW_S,
            owner=owner,
            metadata=metadata,
        )
        await asyncio.to_thread(self.storage.batches.add, batch)
        self._start(batch)
        return batch

    async def cancel(self, batch_id: str) -> Batch | None:
        """Its lines end at once. None if it has ended, or is about to."""
        changed = await asyncio.to_thread(
            self.storage.batches.change,
            batch_id,
            ("validating", "in_progress"),
            status="cancelling",
            cancelling_at=int(self._clock()),
        )
        if changed is not None and batch_id in self._lives:
            self._lives[batch_id].cancelled.set()
        return changed

    async def get(self, batch_id: str) -> Batch | None:
        """One of them."""
        return await asyncio.to_thread(self.storage.batches.get, batch_id)

    async def page(self, after: str | None, limit: int, owner: str = "") -> list[Batch] | None:
        """See BatchStore."""
        return await asyncio.to_thread(self.storage.batches.page, after, limit, owner)

    async def told(self, batch: Batch) -> dict[str, Any]:
        """A batch as a client is told of it."""
        counts = batch.counts
        if batch.is_open:
            completed, failed = await asyncio.to_thread(self.storage.results.count, batch.id)
            counts = Counts(counts.total, completed, failed)
        life = self._lives.get(batch.id)
        words = None if life is None else life.trouble
        trouble = None if words is None else LineError("storage_full", words)
        return batch.to_json(counts, trouble)

    def _start(self, batch: Batch) -> None:
        if self._is_stopped:  # the next server takes it up
            return
        life = BatchLife(batch, self._server)
        self._lives[batch.id] = life
        self._tasks[batch.id] = asyncio.ensure_future(self._run(batch.id, life))

    async def _run(self, batch_id: str, life: BatchLife) -> None:
        try:
            await life.run()
        except Exception:
            logger.exception("%s can't go on before the server is started again", batch_id)
        finally:
            with suppress(KeyError):
                del self._lives[batch_id], self._tasks[batch_id]
