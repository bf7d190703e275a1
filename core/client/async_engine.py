"""Requests of a server in its engine, wherever that runs: admitted, streamed, aborted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress

import msgspec

from ..observe.metrics import EngineMetrics
from ..observe.request_events import RequestEvents
from ..process.together import together
from ..prompts.tokenizer import Tokenizer
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
    EngineFacts,
    EngineOutput,
    EngineRequest,
    EngineStats,
    MediaEvents,
    MediaInput,
    MediaWanted,
    RequestsStarted,
    StepReport,
    TokenLogprobs,
)
from ..protocol.outputs import RequestOutput
from ..protocol.sampling_params import BeamSearchParams
from ..system.log_context import request_id
from .admission import Admission
from .beam_search import BeamSearch
from .deadline_timers import DeadlineTimers
from .engine_client import EngineClient, EngineEvent
from .loaded_request import LoadedRequest
from .preparation import Preparation
from .request_state import RequestState

#: Gives an image of a request, by its media key, that the engine asks for.
Reload = Callable[[str], Awaitable[MediaInput]]
#: Is told what became of images in a step; None when the engine begins with none.
MediaListener = Callable[[MediaEvents | None], None]


Outbox = asyncio.Queue[
    EngineOutput | MediaWanted | EngineDeadError | EngineOverloadedError | RequestTimeoutError
]


class AsyncEngine:
    """Submits requests to an engine and streams their outputs; use from one event loop.

    If the engine dies, the open requests end with EngineDeadError.

    events: are told of each request. on_media: is told what became of images.
    """

    def __init__(
        self,
        client: EngineClient,
        tokenizer: Tokenizer,
        max_open: int,
        events: RequestEvents,
        metrics: EngineMetrics,
        on_media: MediaListener,
    ) -> None:
        self._client = client
        self._tokenizer = tokenizer
        self._events = events
        self._metrics = metrics
        self._on_media = on_media
        self._outboxes: dict[str, Outbox] = {}
        self._timers: dict[str, DeadlineTimers] = {}
        self._admission = Admission(max_open)
        client.listen(self._take)

    @property
    def facts(self) -> EngineFacts:
        """What requests are checked against, once the engine has loaded its model."""
        assert self._client.facts is not None
        return self._client.facts

    @property
    def alive(self) -> bool:
        """Whether requests can be taken now."""
        return self._client.alive

    @property
    def pid(self) -> int | None:
        """The process id of the engine, if it has one here."""
        return self._client.pid

    @property
    def stats(self) -> EngineStats:
        """The engine's state after its last step."""
        return self._client.stats

    @contextmanager
    def admission(
        self,
        request_id: str,
        client: str,
        num_answers: int,
        weight: float = 1.0,
        background: bool = False,
    ) -> Iterator[None]:
        """A client's request of so many answers is open, from its arrival to its end. weight: of
        the client. One in the background takes no other's place: who sends it bounds their number.

        Raises EngineOverloadedError or EngineDeadError if it can't be taken now; the former also if
        its place goes to another client while it is prepared.
        """
        self._client.check_alive()
        if background:
            yield
            return
        with (
            Preparation() as preparation,
            self._admission.enter(request_id, client, num_answers, weight, preparation.refuse),
        ):
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
        try:
            # Closed here and now, so that a caller who leaves frees the blocks at once.
            async with aclosing(self._outputs(request, state, loaded, reload)) as outputs:
                with self._metrics.watch(request) as watch:
                    async for output in outputs:
                        watch.update(output, state.finish_reason(output.index))
                        if state.failure is not None:
                            raise error_for(state.failure)
                        yield state.to_output()
        finally:
            self._events.finished(request, state.to_output())

    async def beam_search(
        self, loaded: LoadedRequest, params: BeamSearchParams, reload: Reload
    ) -> RequestOutput:
        """The best hypotheses. Raises as `generate` does."""
        request = loaded.request
        self._admission.start(request.request_id)
        self._events.received(request)
        search = BeamSearch(request, params, self.facts.eos_token_ids)
        try:
            with self._metrics.watch(request) as watch:
                while not search.done:
                    search.update(await self._run_all(search.next_requests(), loaded, reload))
                watch.found(search.to_output(self._tokenizer))
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
        try:
            named = msgspec.structs.replace(
                loaded.take(request), log_id=request_id(), submit_time=time.monotonic()
            )
            self._client.submit(named)
        except OverflowError as error:
            raise RequestError(f"the request has a number that is too large: {error}") from error
        outbox: Outbox = asyncio.Queue()
        self._outboxes[request.request_id] = outbox
        timers = DeadlineTimers(request, outbox.put_nowait)
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
                                self._client.supply(await reload(key))
                    continue
                abort = state.update(output)
                if abort is not None:
                    self._client.abort(abort)
                yield output
        finally:
            timers.cancel()
            del self._outboxes[request.request_id], self._timers[request.request_id]
            self._client.abort(Abort(request.request_id))

    def _take(self, event: EngineEvent) -> None:
        if isinstance(event, StepReport):
            self._metrics.record(event.stats, self.facts, event.media)
            self._on_media(event.media)
            messages: list[MediaWanted | EngineOutput] = [*event.media.wanted, *event.outputs]
            for message in messages:
                outbox = self._outboxes.get(message.request_id)
                if outbox is not None:
                    outbox.put_nowait(message)
        elif isinstance(event, RequestsStarted):
            for request_id in event.request_ids:
                self._admission.start(request_id)
                if request_id in self._timers:
                    self._timers[request_id].started()
        else:
            self._metrics.restart()
            self._on_media(None)
            self.fail_open_requests(event.error)

    def fail_open_requests(self, error: EngineDeadError) -> None:
        """End what is open with an error that says why."""
        for outbox in self._outboxes.values():
            outbox.put_nowait(error)
