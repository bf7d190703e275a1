"""How much may be in memory at once, for all visitors together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """What is larger than all of it has its turn alone."""

    def __init__(self, num_bytes: int) -> None:
        self._num_bytes = num_bytes
        self._left = num_bytes
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, num_bytes: int) -> AsyncIterator[None]:
        """Waits until there is room, which is held within."""
        taken = min(num_bytes, self._num_bytes)
        async with self._changed:
            await self._changed.wait_for(lambda: self._left >= taken)
            self._left -= taken
        try:
            yield
        finally:
            async with self._changed:
                self._left += taken
                self._changed.notify_all()
