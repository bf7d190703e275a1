"""The engine of this process, stepped by whoever waits for answers."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from torch import Tensor

from ...core.client.request_state import RequestState
from ...core.engine.engine_core import EngineCore
from ...core.prompts.tokenizer import Tokenizer
from ...core.protocol.messages import Abort, EngineRequest, MediaInput


class OfflineEngine:
    """Keeps the states of all requests that run, so that each step brings all of them up to date,
    whoever takes it. Threads wait for each other."""

    def __init__(self, core: EngineCore, tokenizer: Tokenizer) -> None:
        self._core = core
        self._tokenizer = tokenizer
        self._states: dict[str, RequestState] = {}
        self._turn = threading.Lock()

    def add(self, request: EngineRequest) -> RequestState:
        """Its state, which each step brings up to date. One whose id is in use fails, and the one
        that has the id goes on."""
        state = RequestState(request, self._tokenizer)
        with self._turn:
            holder = self._states.setdefault(request.request_id, state)
            for output in self._core.add(request):
                state.update(output)
            if holder is state:
                self._let_go_if_finished(request.request_id)
        return state

    def step(self) -> None:
        """One step of the engine, if it has anything to do."""
        with self._turn:
            stepped = set()
            for output in self._core.step() if self._core.has_unfinished() else ():
                stepped.add(output.request_id)
                abort = self._states[output.request_id].update(output)
                if abort is not None:
                    self._core.abort(abort)
            for wanted in self._core.take_media_events().wanted:
                for key in wanted.media_keys:
                    self._core.supply(self._media(key))
            for request_id in stepped:
                self._let_go_if_finished(request_id)

    def abort(self, states: Iterable[RequestState]) -> None:
        """End those that have not ended."""
        with self._turn:
            for state in states:
                request_id = state.request.request_id
                if self._states.get(request_id) is state:
                    self._core.abort(Abort(request_id))
                    del self._states[request_id]

    def encode_images(self, request: EngineRequest) -> list[Tensor]:
        """What the decoder would see of each of a request's images, [num_features, hidden_size]."""
        with self._turn:
            return self._core.encode_images(request)

    def _let_go_if_finished(self, request_id: str) -> None:
        state = self._states[request_id]
        if not state.finished:
            return
        if state.failure is not None:  # of one answer, while others may still run
            self._core.abort(Abort(request_id))
        del self._states[request_id]

    def _media(self, key: str) -> MediaInput:
        return next(
            item
            for state in self._states.values()
            for item in state.request.media
            if item.media_key == key
        )
