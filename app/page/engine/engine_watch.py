"""Looks at a server's engine for all of the page's visitors together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ..server.server_api import ServerApi, ServerError
from .exposition import Exposition
from .history import History, sample_of

#: Seconds between two looks, a little less than visitors' own pause, so that none has to wait for
#: its next one.
_PAUSE_S = 0.9
_PATIENCE_S = 10
_NOT_OCTAVOS = (
    "This server is not one of Octavo's: it tells nothing of its engine that could be shown here."
)


@dataclass(frozen=True)
class Look:
    """What visitors are shown. number: of this look, from 1 on. trouble: why there is nothing new,
    as a sentence, or "". info: as GET /info has it, {} if it is not known."""

    number: int
    trouble: str
    history: History
    info: Mapping[str, Any]


class EngineWatch:
    """Asks only when a visitor looks, and for all who do at about the same time once.

    clock: in seconds; only differences count.
    """

    def __init__(self, server: ServerApi, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._last = Look(0, "", History(), {})
        self._due = clock()
        self._looking: asyncio.Task[Look] | None = None
        self._run: tuple[float, ...] = ()

    async def look(self) -> Look:
        """The present state, at most about a second old. It raises nothing."""
        if self._looking is None and self._clock() >= self._due:
            self._looking = asyncio.create_task(self._ask())
        if self._looking is not None:
            # Shielded, as others may wait for it when this visitor has left.
            return await asyncio.shield(self._looking)
        return self._last

    async def _ask(self) -> Look:
        try:
            last, trouble, info = self._last, "", self._last.info
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    info = await self._take_sample()
            except ServerError as error:
                trouble = _sentence(error)
            except TimeoutError:
                trouble = f"The server has not answered for {_PATIENCE_S} seconds."
            except (ValueError, msgspec.DecodeError):
                trouble = _NOT_OCTAVOS
            self._last = Look(last.number + 1, trouble, last.history, info)
            return self._last
        finally:
            self._due = self._clock() + _PAUSE_S
            self._looking = None

    async def _take_sample(self) -> Mapping[str, Any]:
        """Add one to the history; returns what there is to know of the server."""
        exposition = Exposition(await self._server.metrics())
        if not exposition.is_octavos:
            raise ValueError("not Octavo's")
        # Tells whether the engine's process is there; metrics are the server's.
        await self._server.get("/health")
        self._last.history.add(sample := sample_of(exposition, self._clock()))
        run = (exposition.process_start, sample.values.get("engine_restarts_total", 0))
        if run == self._run:
            return self._last.info
        info = await self._info()
        self._run = run
        return info

    async def _info(self) -> Mapping[str, Any]:
        try:
            return await self._server.get("/info")
        except ServerError as error:
            if error.status == 404:
                return {}  # an older server
            raise


def _sentence(error: ServerError) -> str:
    if error.status == 404:
        return _NOT_OCTAVOS
    said = str(error)
    end = "" if said.endswith((".", "?", "!")) else "."
    return f"{said[:1].upper()}{said[1:]}{end}"
