"""The requests of one caller in the engine of this process."""

from __future__ import annotations

from ...core.client.request_state import RequestState
from ...core.observe.request_events import RequestEvents
from ...core.protocol.messages import EngineRequest
from .offline_engine import OfflineEngine, OnUpdate


class OfflineRun:
    """A context: what has not ended when it is left is aborted.

    events: of which each request is told.
    """

    def __init__(self, engine: OfflineEngine, events: RequestEvents | None = None) -> None:
        self._engine = engine
        self._events = events
        self._running: list[RequestState] = []

    def __enter__(self) -> OfflineRun:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """Abort what has not ended."""
        self._engine.abort(self._running)
        for state in self._running:
            self._tell_end(state)
        self._running = []

    @property
    def num_unfinished(self) -> int:
        """Requests that were added and have not ended."""
        return len(self._running)

    def add(self, request: EngineRequest, on_update: OnUpdate | None = None) -> RequestState:
        """Its state, which each step brings up to date."""
        if self._events is not None:
            self._events.received(request)
        state = self._engine.add(request, on_update)
        self._running.append(state)
        return state

    def step(self) -> None:
        """One step of the engine, for all that runs there."""
        self._engine.step()
        running, self._running = self._running, []
        for state in running:
            if state.finished:
                self._tell_end(state)
            else:
                self._running.append(state)

    def _tell_end(self, state: RequestState) -> None:
        if self._events is not None:
            self._events.finished(state.request, state.to_output())
