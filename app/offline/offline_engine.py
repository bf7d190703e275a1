"""The engine of this process, stepped by whoever waits for answers."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from torch import Tensor

from ...core.client.engine_client import EngineEvent
from ...core.client.in_process_engine import InProcessEngine
from ...core.client.request_state import RequestState
from ...core.prompts.tokenizer import Tokenizer
from ...core.protocol.messages import Abort, EngineRequest, Failure, MediaInput, StepReport


class OfflineEngine:
    """Keeps the states of all requests that run, so that each step brings all of them up to date,
    whoever takes it. Threads wait for each other."""

    def __init__(self, engine: InProcessEngine, tokenizer: Tokenizer) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._states: dict[str, RequestState] = {}
        self._turn = threading.Lock()
        engine.listen(self._take)

    def add(self, request: EngineRequest) -> RequestState:
        """Its state, which each step brings up to date. One whose id is in use fails, and the one
        that has the id goes on."""
        state = RequestState(request, self._tokenizer)
        with self._turn:
            if self._states.setdefault(request.request_id, state) is state:
                self._engine.submit(request)
            else:
                state.failure = Failure("invalid", f"request id {request.request_id} is in use")
        return state

    def step(self) -> None:
        """One step of the engine, if it has anything to do."""
        with self._turn:
            if self._engine.has_unfinished():
                self._engine.step()

    def abort(self, states: Iterable[RequestState]) -> None:
        """End those that have not ended."""
        with self._turn:
            for state in states:
                request_id = state.request.request_id
                if self._states.get(request_id) is state:
                    self._engine.abort(Abort(request_id))
                    del self._states[request_id]

    def encode_images(self, request: EngineRequest) -> list[Tensor]:
        """What the decoder would see of each of a request's images, [num_features, hidden_size]."""
        with self._turn:
            return self._engine.encode_images(request)

    def _take(self, event: EngineEvent) -> None:
        if not isinstance(event, StepReport):
            return
        for output in event.outputs:
            abort = self._states[output.request_id].update(output)
            if abort is not None:
                self._engine.abort(abort)
        for wanted in event.media.wanted:
            for key in wanted.media_keys:
                self._engine.supply(self._media(key))
        for request_id in dict.fromkeys(output.request_id for output in event.outputs):
            self._let_go_if_finished(request_id)

    def _let_go_if_finished(self, request_id: str) -> None:
        state = self._states[request_id]
        if not state.finished:
            return
        if state.failure is not None:  # of one answer, while others may still run
            self._engine.abort(Abort(request_id))
        del self._states[request_id]

    def _media(self, key: str) -> MediaInput:
        return next(
            item
            for state in self._states.values()
            for item in state.request.media
            if item.media_key == key
        )
