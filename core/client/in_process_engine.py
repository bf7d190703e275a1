"""The engine in the process of its user, which steps it."""

from __future__ import annotations

import os

from torch import Tensor

from ..engine.engine_core import EngineCore
from ..protocol.messages import (
    Abort,
    EngineFacts,
    EngineOutput,
    EngineRequest,
    EngineStats,
    MediaInput,
    RequestsStarted,
    StepReport,
)
from .engine_client import EngineListener


class InProcessEngine:
    """An EngineClient whose listener is called within the calls, those of `step` above all. For
    one thread at a time; a listener may call `abort` and `supply`."""

    def __init__(self, core: EngineCore) -> None:
        self._core = core
        self._listener: EngineListener = lambda event: None
        core.on_started = lambda request_ids: self._listener(RequestsStarted(request_ids))

    @property
    def alive(self) -> bool:
        """See EngineClient; always."""
        return True

    @property
    def pid(self) -> int | None:
        """See EngineClient."""
        return os.getpid()

    @property
    def facts(self) -> EngineFacts:
        """See EngineClient."""
        return self._core.facts

    @property
    def stats(self) -> EngineStats:
        """The present state."""
        return self._core.stats()

    def listen(self, listener: EngineListener) -> None:
        """See EngineClient."""
        self._listener = listener

    def check_alive(self) -> None:
        """See EngineClient; it raises nothing."""

    def submit(self, request: EngineRequest) -> None:
        """See EngineClient; it raises nothing."""
        self._settle(self._core.add(request))

    def abort(self, abort: Abort) -> None:
        """See EngineClient."""
        self._core.abort(abort)
        self._settle([])

    def supply(self, media: MediaInput) -> None:
        """See EngineClient."""
        self._core.supply(media)

    def has_unfinished(self) -> bool:
        """Whether any request is open."""
        return self._core.has_unfinished()

    def has_work(self) -> bool:
        """Whether `step` has anything to compute; not if all open requests wait for images."""
        return self._core.has_work()

    def step(self) -> None:
        """Compute a step, and tell what came of it."""
        self.report(self._core.step())

    def report(self, outputs: list[EngineOutput]) -> None:
        """Tell of outputs, with the state and what became of images."""
        stats, media = self._core.stats(), self._core.take_media_events()
        self._listener(StepReport(outputs, stats, media))

    def encode_images(self, request: EngineRequest) -> list[Tensor]:
        """See EngineCore."""
        return self._core.encode_images(request)

    def _settle(self, outputs: list[EngineOutput]) -> None:
        """After a change between steps: tell at once what no step will."""
        if outputs or not self._core.has_unfinished():
            self.report(outputs)
