"""The engine of this process, stepped by whoever waits for answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor

from ...core.client.engine_client import EngineEvent
from ...core.client.in_process_engine import InProcessEngine
from ...core.client.request_state import RequestState
from ...core.prompts.tokenizer import Tokenizer
from ...core.protocol.messages import Abort, EngineRequest, Failure, MediaInput, StepReport
from .model_life import ModelLife
from .turns import Turns

#: Is told of a request's state whenever it has changed, while nothing else changes it.
OnUpdate = Callable[[RequestState], None]


class OfflineEngine:
    """Keeps the states of all requests that run, so that each step brings all of them up to date,
    whoever takes it. Threads wait for each other. Raises RuntimeError once its life has ended."""

    def __init__(self, engine: InProcessEngine, tokenizer: Tokenizer, life: ModelLife) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._life = life
        self._states: dict[str, RequestState] = {}
        self._on_update: dict[str, OnUpdate] = {}
        self._left: deque[RequestState] = deque()
        self._turn = Turns()
        engine.listen(self._take)

    @property
    def ended(self) -> bool:
        """Whether it can't be used any more."""
        return self._life.ended

    def add(self, request: EngineRequest, on_update: OnUpdate | None = None) -> RequestState:
        """Its state, which each step brings up to date. One whose id is in use fails, and the one
        that has the id goes on."""
        state = RequestState(request, self._tokenizer)
        with self._my_turn():
            if self._states.setdefault(request.request_id, state) is state:
                if on_update is not None:
                    self._on_update[request.request_id] = on_update
                self._engine.submit(request)
            else:
                state.failure = Failure("invalid", f"request id {request.request_id} is in use")
                if on_update is not None:
                    on_update(state)
        return state

    def step(self) -> bool:
        """One step of the engine, if it has anything to do; whether more is left to do."""
        with self._my_turn():
            if self._engine.has_unfinished():
                self._engine.step()
            return self._engine.has_unfinished()

    def abort(self, states: Iterable[RequestState]) -> None:
        """End those that have not ended; in a forked process, where none runs, nothing."""
        self._left += states
        # The garbage collector may close a stream in the midst of anything, such as a step.
        if self._left and not self.ended and not self._turn.asked_by_me:
            with self._turn:
                self._abort_left()

    def fail(self, reason: str) -> None:
        """End all that run, with an error for whoever waits."""
        with self._turn:
            self._fail(reason)

    def close(self) -> None:
        """End all that run, and let the model go, once its life has ended."""
        with self._turn:
            self._fail("the model was closed before the answer was complete")
            self._engine.listen(lambda event: None)
            del self._engine

    def encode_images(self, request: EngineRequest) -> list[Tensor]:
        """What the decoder would see of each of a request's images, [num_features, hidden_size]."""
        with self._my_turn():
            return self._engine.encode_images(request)

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        self._life.check()  # before it would wait for a thread that a fork has left behind
        with self._turn:
            self._life.check()
            yield
            self._abort_left()

    def _abort_left(self) -> None:
        while self._left:
            state = self._left.popleft()
            request_id = state.request.request_id
            if self._states.get(request_id) is state:
                self._engine.abort(Abort(request_id))
                self._forget(request_id)

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
            self._tell(request_id)
            self._let_go_if_finished(request_id)

    def _tell(self, request_id: str) -> None:
        if request_id in self._on_update:
            self._on_update[request_id](self._states[request_id])

    def _let_go_if_finished(self, request_id: str) -> None:
        state = self._states[request_id]
        if not state.finished:
            return
        if state.failure is not None:  # of one answer, while others may still run
            self._engine.abort(Abort(request_id))
        self._forget(request_id)

    def _fail(self, reason: str) -> None:
        for request_id, state in list(self._states.items()):
            self._engine.abort(Abort(request_id))
            state.failure = Failure("failed", reason)
            self._tell(request_id)
            self._forget(request_id)

    def _forget(self, request_id: str) -> None:
        del self._states[request_id]
        self._on_update.pop(request_id, None)

    def _media(self, key: str) -> MediaInput:
        return next(
            item
            for state in self._states.values()
            for item in state.request.media
            if item.media_key == key
        )
