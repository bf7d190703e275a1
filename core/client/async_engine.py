"""The engine behind a server: its core in a process that is watched and restarted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress

from ..observe.metrics import EngineMetrics
from ..observe.request_events import RequestEvents
from ..process.child_process import Spawned
from ..process.restart_pause import RestartPause
from ..process.together import together
from ..prompts.tokenizer import Tokenizer
from ..protocol.config import ConfigError, EngineConfig
from ..protocol.errors import (
    EngineDeadError,
    EngineOverloadedError,
    RequestError,
    RequestFailedError,
    RequestTimeoutError,
    error_for,
)
from ..protocol.messages import (
    Abort,
    EngineOutput,
    EngineReady,
    EngineRequest,
    EngineStats,
    MediaEvents,
    MediaInput,
    MediaSupply,
    MediaWanted,
    RequestsStarted,
    StartFailed,
    StepReport,
    TokenLogprobs,
)
from ..protocol.outputs import RequestOutput
from ..protocol.sampling_params import BeamSearchParams
from .admission import Admission
from .beam_search import BeamSearch
from .deadline_timers import DeadlineTimers
from .engine_process import EngineProcess, FromEngine
from .loaded_request import LoadedRequest
from .request_state import RequestState

logger = logging.getLogger(__name__)

#: Gives an image of a request, by its media key, that the engine asks for.
Reload = Callable[[str], Awaitable[MediaInput]]
#: Is told what became of images in a step; None when the engine begins with none.
MediaListener = Callable[[MediaEvents | None], None]


Outbox = asyncio.Queue[
    EngineOutput | MediaWanted | EngineDeadError | EngineOverloadedError | RequestTimeoutError
]


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
        self._outboxes: dict[str, Outbox] = {}
        self._timers: dict[str, DeadlineTimers] = {}
        self._admission = Admission(config.max_num_seqs + config.max_num_queued_reqs)
        self._process: EngineProcess | None = None
        self._first_start: asyncio.Future[EngineReady] | None = None
        self._alive = False
        self._restart_pause = RestartPause()
        self._stopping = False
        self._start_error = ""
        self.stats = EngineStats()
        self.limits: EngineReady | None = None
        self.on_media: MediaListener = lambda events: None

    @property
    def healthy(self) -> bool:
        """Whether requests can be taken now."""
        return self._alive

    @property
    def pid(self) -> int | None:
        """The process id of the engine's process, if there is one."""
        return self._process.pid if self._process is not None else None

    def launch(self, child: Spawned | None = None) -> None:
        """Start the engine's process, or use one that has been spawned for it; it loads its model
        while the caller does other things."""
        self._first_start = asyncio.get_running_loop().create_future()
        self._spawn(child)

    async def wait_until_ready(self, tokenizer: Tokenizer) -> EngineReady:
        """Wait until the model is loaded. Raises ConfigError if it can't be."""
        assert self._first_start is not None
        self._tokenizer = tokenizer
        return await self._first_start

    async def stop(self) -> None:
        """End the engine's process; requests that are open fail."""
        self._stopping = True
        self.fail_open_requests("the server is shutting down")
        if self._process is not None:
            await asyncio.to_thread(self._process.stop)

    @contextmanager
    def admission(self, request_id: str, client: str, num_answers: int) -> Iterator[None]:
        """A client's request of so many answers is open, from its arrival to its end.

        Raises EngineOverloadedError or EngineDeadError if it can't be taken now.
        """
        if not self._alive:
            raise self._restarting()
        with self._admission.enter(request_id, client, num_answers):
            yield

    async def generate(
        self, loaded: LoadedRequest, reload: Reload
    ) -> AsyncGenerator[RequestOutput]:
        """The growing output, after each step that added to it; closing it aborts the request.

        Raises EngineDeadError, EngineOverloadedError if its place goes to another client before it
        has begun (see Admission), RequestTimeoutError also where the engine does not watch the time
        as it hangs, what `error_for` gives for a failure, and what `reload` raises.
        """
        request = loaded.request
        self._events.received(request)
        state = RequestState(request, self._tokenizer)
        watch = self._metrics.watch(request)
        try:
            # Closed here and now, so that a caller who leaves frees the blocks at once.
            async with aclosing(self._outputs(request, state, loaded, reload)) as outputs:
                async for output in outputs:
                    watch.update(output)
                    if state.failure is not None:
                        raise error_for(state.failure)
                    yield state.to_output()
        finally:
            self._events.finished(request, state.to_output())

    async def beam_search(
        self, loaded: LoadedRequest, params: BeamSearchParams, reload: Reload
    ) -> RequestOutput:
        """The best hypotheses. Raises as `generate` does."""
        assert self.limits is not None
        request = loaded.request
        self._events.received(request)
        search = BeamSearch(request, params, self.limits.eos_token_ids)
        try:
            while not search.done:
                search.update(await self._run_all(search.next_requests(), loaded, reload))
        finally:
            output = search.to_output(self._tokenizer)
            self._events.finished(request, output)
        return output

    async def _run_all(
        self, requests: list[EngineRequest], loaded: LoadedRequest, reload: Reload
    ) -> list[TokenLogprobs]:
        """The first token of each request; the first failure ends them all."""
        return await together(self._first_token(r, loaded, reload) for r in requests)

    async def _first_token(
        self, request: EngineRequest, loaded: LoadedRequest, reload: Reload
    ) -> TokenLogprobs:
        state = RequestState(request, self._tokenizer)
        async with aclosing(self._outputs(request, state, loaded, reload)) as outputs:
            async for output in outputs:
                if state.failure is not None:
                    raise error_for(state.failure)
                if output.new_logprobs:
                    return output.new_logprobs[0]
        raise RequestFailedError("the engine gave no token")

    async def _outputs(
        self, request: EngineRequest, state: RequestState, loaded: LoadedRequest, reload: Reload
    ) -> AsyncGenerator[EngineOutput]:
        """Submit a request and keep its state up to date; closing this aborts the request."""
        process = self._process_for(request)
        try:
            process.send(loaded.take(request))
        except OverflowError as error:
            raise RequestError(f"the request has a number that is too large: {error}") from error
        outbox: Outbox = asyncio.Queue()
        self._outboxes[request.request_id] = outbox
        timers = DeadlineTimers(request, self._config, outbox.put_nowait)
        self._timers[request.request_id] = timers
        self._admission.wait(request.request_id, outbox.put_nowait)
        try:
            while not state.finished:
                output = await outbox.get()
                if isinstance(output, Exception):
                    raise output
                if isinstance(output, MediaWanted):
                    with suppress(TimeoutError):  # of which the outbox tells
                        async with timers.limit():
                            for key in output.media_keys:
                                process.send(MediaSupply(await reload(key)))
                    continue
                abort = state.update(output)
                if abort is not None:
                    process.send(abort)
                yield output
        finally:
            timers.cancel()
            del self._outboxes[request.request_id], self._timers[request.request_id]
            process.send(Abort(request.request_id))

    def _process_for(self, request: EngineRequest) -> EngineProcess:
        """Raises EngineDeadError if there is none, or another than the request was built for, as
        the keys of its images may mean other features there."""
        digest = self.limits.encoder_digest if self.limits is not None else ""
        if self._process is None or not self._alive or request.encoder_digest != digest:
            raise self._restarting()
        return self._process

    def _restarting(self) -> EngineDeadError:
        seconds = self._restart_pause.retry_after
        message = f"the engine is restarting; send the request again in {seconds} s"
        return EngineDeadError(message, seconds)

    def _spawn(self, child: Spawned | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._restart_pause.started()
        self._metrics.restart()
        self.stats = EngineStats()
        self.on_media(None)

        def post(callback: Callable[[], None]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(callback)

        self._process = EngineProcess(
            self._config,
            on_message=lambda message: post(lambda: self._take(message)),
            on_exit=lambda reason: post(lambda: self._bury(reason)),
            child=child,
        )

    def _take(self, message: FromEngine) -> None:
        if isinstance(message, StepReport):
            self.stats = message.stats
            self._metrics.record(message.stats, self.limits, message.media)
            self.on_media(message.media)
            for wanted in message.media.wanted:
                self._post(wanted)
            for output in message.outputs:
                self._post(output)
        elif isinstance(message, RequestsStarted):
            for request_id in message.request_ids:
                self._admission.start(request_id)
                if request_id in self._timers:
                    self._timers[request_id].started()
        elif isinstance(message, StartFailed):
            self._start_error = message.message
        else:
            self._alive = True
            self._restart_pause.loaded()
            self.limits = message
            if self._first_start is not None and not self._first_start.done():
                self._first_start.set_result(message)

    def _post(self, message: EngineOutput | MediaWanted) -> None:
        outbox = self._outboxes.get(message.request_id)
        if outbox is not None:
            outbox.put_nowait(message)

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
        pause = self._restart_pause.after_death()
        message = f"the engine died ({reason}) and the request with it"
        self.fail_open_requests(message, self._restart_pause.retry_after)
        asyncio.get_running_loop().call_later(pause, self._respawn)

    def fail_open_requests(self, message: str, retry_after: int | None = None) -> None:
        """End what is open with an EngineDeadError that says why."""
        for outbox in self._outboxes.values():
            outbox.put_nowait(EngineDeadError(message, retry_after))

    def _respawn(self) -> None:
        if not self._stopping:
            self._spawn()
