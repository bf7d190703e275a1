"""A limit on the memory of pictures that are on their way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """So many bytes at once, given in order of asking; one that needs more than all has all."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def hold(self, num_bytes: int) -> AsyncIterator[None]:
        """Wait for so many bytes, and have them until the end."""
        async with self._turn:
            while self._held and self._held + num_bytes > self._max_bytes:
                self._freed.clear()
                await self._freed.wait()
            self._held += num_bytes
        try:
            yield
        finally:
            self._held -= num_bytes
            self._freed.set()
