"""Writes records down as they come: those that come meanwhile, together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from .result_store import Record

logger = logging.getLogger(__name__)

#: Between attempts to write on a full disk.
RETRY_S = 10.0


class Recorder:
    """A context in an event loop; at its end all that was given is on the disk, if it can be.

    Where the disk can't be written it tries again until it can be, and whoever keeps something
    waits; `trouble` says so meanwhile. What can't be written at the end is lost.

    add: keeps records, all or none. Raises OSError.
    """

    def __init__(self, add: Callable[[Sequence[Record]], None]) -> None:
        self._add = add
        self._waiting: list[tuple[Record, asyncio.Future[None]]] = []
        self._has_more = asyncio.Event()
        self._ends = asyncio.Event()
        self.trouble: str | None = None

    async def __aenter__(self) -> Self:
        self._writing = asyncio.ensure_future(self._write())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._ends.set()
        self._has_more.set()
        await asyncio.wait([self._writing])

    async def keep(self, record: Record) -> None:
        """Returns once it is on the disk. It gets there, too, if the caller is cancelled."""
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append((record, kept))
        self._has_more.set()
        await kept

    async def _write(self) -> None:
        while not self._ends.is_set() or self._waiting:
            await self._has_more.wait()
            self._has_more.clear()
            taken, self._waiting = self._waiting, []
            if not await self._write_down([record for record, _ in taken]):
                return
            for _, kept in taken:
                if not kept.done():
                    kept.set_result(None)

    async def _write_down(self, records: list[Record]) -> bool:
        """Whether it could be done, after all."""
        while True:
            try:
                await asyncio.to_thread(self._add, records)
            except OSError as error:
                self.trouble = f"answers can't be written: {error.strerror or error}"
                logger.error("%s; trying again", self.trouble)
            else:
                self.trouble = None
                return True
            if self._ends.is_set():
                return False
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ends.wait(), RETRY_S)
