"""The engine behind a server: its core in a process that is watched and restarted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from .beam_search import BeamSearch
from .config import ConfigError, EngineConfig
from .engine_process import EngineProcess, FromEngine
from .errors import (
    EngineDeadError,
    EngineOverloadedError,
    RequestError,
    RequestFailedError,
    error_for,
)
from .messages import (
    Abort,
    EngineOutput,
    EngineReady,
    EngineRequest,
    EngineStats,
    StartFailed,
    StepReport,
    TokenLogprobs,
)
from .metrics import EngineMetrics
from .outputs import RequestOutput
from .request_events import RequestEvents
from .request_state import RequestState
from .sampling_params import BeamSearchParams
from .tokenizer import Tokenizer

logger = logging.getLogger(__name__)

#: An engine that dies this soon after its start is not restarted at once.
_SHORT_LIFE_S = 10.0
_LONGEST_PAUSE_S = 30.0


class AsyncEngine:
    """Submits requests and streams their outputs; use from one event loop.

    `launch`, then `wait_until_ready`, then requests, at last `stop`.

    If the engine's process dies, the open requests end with EngineDeadError, and another
    process is started.
    """

    def __init__(self, config: EngineConfig, events: RequestEvents, metrics: EngineMetrics) -> None:
        self._config = config
        self._events = events
        self._metrics = metrics
        self._outboxes: dict[str, asyncio.Queue[EngineOutput | EngineDeadError]] = {}
        self._num_open = 0
        self._process: EngineProcess | None = None
        self._first_start: asyncio.Future[EngineReady] | None = None
        self._alive = False
        self._started_at = 0.0
        self._short_lives = 0
        self._stopping = False
        self._start_error = ""
        self.stats = EngineStats()
        self.limits: EngineReady | None = None

    @property
    def healthy(self) -> bool:
        """Whether requests can be taken now."""
        return self._alive

    @property
    def pid(self) -> int | None:
        """The process id of the engine's process, if there is one."""
        return self._process.pid if self._process is not None else None

    def launch(self) -> None:
        """Start the engine's process; it loads its model while the caller does other things."""
        self._first_start = asyncio.get_running_loop().create_future()
        self._spawn()

    async def wait_until_ready(self, tokenizer: Tokenizer) -> EngineReady:
        """Wait until the model is loaded. Raises ConfigError if it can't be."""
        assert self._first_start is not None
        self._tokenizer = tokenizer
        return await self._first_start

    async def stop(self) -> None:
        """End the engine's process; requests that are open fail."""
        self._stopping = True
        self._fail_open_requests("the server is shutting down")
        if self._process is not None:
            await asyncio.to_thread(self._process.stop)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[RequestOutput]:
        """The growing output, after each step that added to it; closing it aborts the request.

        Raises EngineOverloadedError, EngineDeadError, and what `error_for` gives for a failure.
        """
        self._events.received(request)
        state = RequestState(request, self._tokenizer)
        watch = self._metrics.watch(request)
        try:
            # Closed here and now, so that a caller who leaves frees the blocks at once.
            async with aclosing(self._outputs(request, state)) as outputs:
                async for output in outputs:
                    watch.update(output)
                    if state.failure is not None:
                        raise error_for(state.failure)
                    yield state.to_output()
        finally:
            self._events.finished(request, state.to_output())

    async def beam_search(self, request: EngineRequest, params: BeamSearchParams) -> RequestOutput:
        """The best hypotheses. Raises as `generate` does."""
        assert self.limits is not None
        self._events.received(request)
        search = BeamSearch(request, params, self.limits.eos_token_ids)
        try:
            while not search.done:
                search.update(await self._run_all(search.next_requests()))
        finally:
            output = search.to_output(self._tokenizer)
            self._events.finished(request, output)
        return output

    async def _run_all(self, requests: list[EngineRequest]) -> list[TokenLogprobs]:
        """The first token of each request; the first failure ends them all."""
        steps = [asyncio.ensure_future(self._first_token(request)) for request in requests]
        try:
            return await asyncio.gather(*steps)
        finally:
            for step in steps:
                step.cancel()

    async def _first_token(self, request: EngineRequest) -> TokenLogprobs:
        state = RequestState(request, self._tokenizer)
        async with aclosing(self._outputs(request, state)) as outputs:
            async for output in outputs:
                if state.failure is not None:
                    raise error_for(state.failure)
                if output.new_logprobs:
                    return output.new_logprobs[0]
        raise RequestFailedError("the engine gave no token")

    async def _outputs(
        self, request: EngineRequest, state: RequestState
    ) -> AsyncGenerator[EngineOutput]:
        """Submit a request and keep its state up to date; closing this aborts the request."""
        process = self._admit(request.sampling_params.n)
        try:
            process.send(request)
        except OverflowError as error:
            raise RequestError(f"the request has a number that is too large: {error}") from error
        outbox: asyncio.Queue[EngineOutput | EngineDeadError] = asyncio.Queue()
        self._outboxes[request.request_id] = outbox
        self._num_open += request.sampling_params.n
        try:
            while not state.finished:
                output = await outbox.get()
                if isinstance(output, EngineDeadError):
                    raise output
                abort = state.update(output)
                if abort is not None:
                    process.send(abort)
                yield output
        finally:
            del self._outboxes[request.request_id]
            self._num_open -= request.sampling_params.n
            process.send(Abort(request.request_id))

    def _admit(self, count: int) -> EngineProcess:
        if self._process is None or not self._alive:
            raise EngineDeadError("the engine is restarting; send the request again")
        limit = self._config.max_num_queued_reqs
        if limit is not None and self._num_open + count > self._config.max_num_seqs + limit:
            raise EngineOverloadedError(
                f"{self._num_open} requests are open, as many as run at once and wait here; "
                "send the request again later"
            )
        return self._process

    def _spawn(self) -> None:
        loop = asyncio.get_running_loop()
        self._started_at = time.monotonic()
        self._metrics.restart()

        def post(callback: Callable[[], None]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(callback)

        self._process = EngineProcess(
            self._config,
            on_message=lambda message: post(lambda: self._take(message)),
            on_exit=lambda reason: post(lambda: self._bury(reason)),
        )

    def _take(self, message: FromEngine) -> None:
        if isinstance(message, StepReport):
            self.stats = message.stats
            self._metrics.record(message.stats, self.limits)
            for output in message.outputs:
                outbox = self._outboxes.get(output.request_id)
                if outbox is not None:
                    outbox.put_nowait(output)
        elif isinstance(message, StartFailed):
            self._start_error = message.message
        else:
            self._alive = True
            self.limits = message
            if self._first_start is not None and not self._first_start.done():
                self._first_start.set_result(message)

    def _bury(self, reason: str) -> None:
        """The process has ended: tell who waits for it, and start another."""
        self._alive = False
        if self._stopping:
            return
        if self.limits is None:
            assert self._first_start is not None
            error = self._start_error or f"the engine died while it started: {reason}"
            self._first_start.set_exception(ConfigError(error))
            return
        logger.error("the engine's process died (%s); starting another", reason)
        self._fail_open_requests(f"the engine died ({reason}) and the request with it")
        short = time.monotonic() - self._started_at < _SHORT_LIFE_S
        self._short_lives = self._short_lives + 1 if short else 0
        pause = min(_LONGEST_PAUSE_S, 2.0**self._short_lives - 1) if self._short_lives > 1 else 0
        asyncio.get_running_loop().call_later(pause, self._respawn)

    def _fail_open_requests(self, message: str) -> None:
        for outbox in self._outboxes.values():
            outbox.put_nowait(EngineDeadError(message))

    def _respawn(self) -> None:
        if not self._stopping:
            self._spawn()
