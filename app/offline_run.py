"""Requests in the engine of this process, stepped by whoever waits for them."""

from __future__ import annotations

from ..core.engine.engine_core import EngineCore
from ..core.engine.messages import Abort, EngineRequest, MediaInput
from ..core.engine.request_state import RequestState
from ..core.engine.tokenizer import Tokenizer


class OfflineRun:
    """A context: what has not ended when it is left is aborted."""

    def __init__(self, core: EngineCore, tokenizer: Tokenizer) -> None:
        self._core = core
        self._tokenizer = tokenizer
        self._states: dict[str, RequestState] = {}

    def __enter__(self) -> OfflineRun:
        return self

    def __exit__(self, *error: object) -> None:
        for request_id in self._states:
            self._core.abort(Abort(request_id))

    @property
    def num_unfinished(self) -> int:
        """Requests that were added and have not ended."""
        return len(self._states)

    def add(self, request: EngineRequest) -> RequestState:
        """Its state, which each step brings up to date. One whose id is in use fails, and the one
        that has the id goes on."""
        state = RequestState(request, self._tokenizer)
        holder = self._states.setdefault(request.request_id, state)
        for output in self._core.add(request):
            state.update(output)
        if holder is state:
            self._let_go_if_finished(request.request_id)
        return state

    def step(self) -> None:
        """One step of the engine, if it has anything to do."""
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
