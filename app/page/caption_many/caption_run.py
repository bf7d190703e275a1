"""Asks a server about the pictures of an album, several at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from ...captioning.picture import NotAPictureError, Picture, PictureError
from ...captioning.sources.read import SourceReader
from ..parts.picture_parts import bytes_part, text_part, unplaced
from ..server.server_api import AnswerSoFar, ServerApi, ServerError
from .album import Album, Entry, State
from .byte_budget import ByteBudget
from .entries import LIMITS

MAX_REQUESTS = 8
#: Seconds between looks at what has come.
_PAUSE_S = 0.5
_BUSY = (429, 503)
#: Seconds before a server that has too much to do is asked again.
_BUSY_PAUSES = (1, 2, 4, 8, 16)
_NO_PERMISSION = (401, 403)
#: Failures in a row of a server that doesn't answer, after which it isn't asked further.
_MOST_UNANSWERED = MAX_REQUESTS


class CaptionRun:
    """budget: of bytes of files that are in memory. prompt: asked of each picture. sampling: see
    ServerApi.ask. fault: why the run ended early, if it did."""

    def __init__(
        self,
        server: ServerApi,
        album: Album,
        budget: ByteBudget,
        prompt: str,
        sampling: Mapping[str, Any],
    ) -> None:
        self.fault: str | None = None
        self._server = server
        self._album = album
        self._budget = budget
        self._prompt = prompt
        self._sampling = sampling
        self._reader = SourceReader(LIMITS)
        self._begin = time.monotonic()
        self._num_answered = 0
        self._num_unanswered = 0
        self._workers: list[asyncio.Task[None]] = []

    async def updates(self) -> AsyncGenerator[None]:
        """Works until nothing waits or it is stopped, and gives a turn now and then. Closing it
        ends requests at the server; their pictures wait again."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(MAX_REQUESTS)]
        try:
            running = set(self._workers)
            while running:
                _, running = await asyncio.wait(running, timeout=_PAUSE_S)
                yield
            for worker in self._workers:
                if not worker.cancelled():
                    worker.result()  # raises what nobody expected
        finally:
            self.stop()
            await asyncio.gather(*self._workers, return_exceptions=True)
            self._reader.close()

    def stop(self) -> None:
        """Ends what runs."""
        for worker in self._workers:
            worker.cancel()

    @property
    def rate(self) -> float:
        """Pictures a second that were answered."""
        return self._num_answered / max(1e-3, time.monotonic() - self._begin)

    async def _work(self) -> None:
        while self.fault is None and (entry := self._album.take()) is not None:
            try:
                await self._caption(entry)
            finally:
                if entry.state is State.ASKED:
                    entry.become(State.WAITING)

    async def _caption(self, entry: Entry) -> None:
        try:
            async with self._budget.hold(entry.num_bytes):
                picture = Picture(entry.name, entry.at, was_named=True)
                data = await asyncio.to_thread(self._reader.read, picture)
                answer = await self._ask(await asyncio.to_thread(bytes_part, data))
        except (PictureError, NotAPictureError) as error:
            entry.become(State.UNREADABLE, str(error))
        except ServerError as error:
            self._failed(entry, error)
        else:
            entry.become(State.CAPTIONED, answer.text, answer.finish_reason == "length")
            self._num_answered += 1
            self._num_unanswered = 0

    async def _ask(self, picture: Mapping[str, Any]) -> AnswerSoFar:
        """Raises ServerError."""
        messages = [{"role": "user", "content": [picture, text_part(self._prompt)]}]
        for pause in _BUSY_PAUSES:
            try:
                return await self._last_of(messages)
            except ServerError as error:
                if error.status not in _BUSY:
                    raise
                await asyncio.sleep(pause)
        return await self._last_of(messages)

    async def _last_of(self, messages: list[dict[str, Any]]) -> AnswerSoFar:
        answer = AnswerSoFar()
        async with aclosing(self._server.ask(messages, self._sampling)) as answers:
            async for so_far in answers:
                answer = so_far
        return answer

    def _failed(self, entry: Entry, error: ServerError) -> None:
        """Of a picture, or of the server as a whole."""
        if error.status in _NO_PERMISSION:
            self.fault = str(error)
            return
        is_refusal = error.status is not None and 400 <= error.status < 500
        is_refusal = is_refusal and error.status not in (408, *_BUSY)
        entry.become(State.REFUSED if is_refusal else State.FAILED, unplaced(error))
        self._num_answered += is_refusal
        self._num_unanswered = 0 if is_refusal else self._num_unanswered + 1
        if self._num_unanswered == _MOST_UNANSWERED:
            self.fault = str(error)
