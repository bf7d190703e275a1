"""The engine behind a server: its core runs in a thread of its own, callers await outputs."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncGenerator, Callable

from .detokenizer import RequestState
from .engine_core import EngineCore
from .errors import EngineDeadError, RequestFailedError
from .messages import AbortRequests, EngineOutput, EngineReady, EngineRequest
from .outputs import RequestOutput
from .tokenizer import Tokenizer

logger = logging.getLogger(__name__)


class AsyncEngine:
    """Submits requests and streams their outputs; use from one event loop."""

    def __init__(self, core: EngineCore, tokenizer: Tokenizer) -> None:
        self._core = core
        self._tokenizer = tokenizer
        self._inbox: queue.SimpleQueue[EngineRequest | AbortRequests | None] = queue.SimpleQueue()
        self._outboxes: dict[str, asyncio.Queue[EngineOutput | EngineDeadError]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="octavo-engine", daemon=True)
        self._dead = False
        self.limits: EngineReady = core.describe()

    @property
    def healthy(self) -> bool:
        """Whether requests can be taken."""
        return self._loop is not None and not self._dead

    @property
    def num_free_blocks(self) -> int:
        """KV blocks that no request holds."""
        return self._core.num_free_blocks

    def start(self) -> None:
        """Start stepping; call from the event loop that will await outputs."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """End the thread after its present step."""
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[RequestOutput]:
        """The growing output, after each step that added to it; closing it aborts the request.

        Raises EngineDeadError if the engine has stopped, and RequestFailedError if it failed on
        this request.
        """
        if self._dead:
            raise EngineDeadError("the engine has stopped; restart the server")
        state = RequestState(request, self._tokenizer)
        outbox: asyncio.Queue[EngineOutput | EngineDeadError] = asyncio.Queue()
        self._outboxes[request.request_id] = outbox
        self._inbox.put(request)
        try:
            while not state.finished:
                output = await outbox.get()
                if isinstance(output, EngineDeadError):
                    raise output
                state.update(output)
                if state.error is not None:
                    raise RequestFailedError(state.error)
                yield state.to_output()
        finally:
            del self._outboxes[request.request_id]
            self._inbox.put(AbortRequests([request.request_id]))

    def _run(self) -> None:
        try:
            while self._take_messages():
                self._deliver(self._core.step())
        except Exception:
            logger.exception("the engine has died")
            self._dead = True
            self._post(self._fail_all)

    def _take_messages(self) -> bool:
        """Act on everything in the inbox, waiting if there is nothing to compute."""
        while True:
            try:
                message = self._inbox.get(block=not self._core.has_unfinished())
            except queue.Empty:
                return True
            if message is None:
                return False
            if isinstance(message, AbortRequests):
                self._core.abort(message.request_ids)
            else:
                refusal = self._core.add(message)
                if refusal is not None:
                    self._deliver([refusal])

    def _deliver(self, outputs: list[EngineOutput]) -> None:
        if outputs:
            self._post(lambda: self._dispatch(outputs))

    def _post(self, callback: Callable[[], None]) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)

    def _dispatch(self, outputs: list[EngineOutput]) -> None:
        for output in outputs:
            outbox = self._outboxes.get(output.request_id)
            if outbox is not None:
                outbox.put_nowait(output)

    def _fail_all(self) -> None:
        for outbox in self._outboxes.values():
            outbox.put_nowait(EngineDeadError("the engine has stopped; restart the server"))
