"""The engine as a face holds it, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..protocol.errors import EngineDeadError
from ..protocol.messages import (
    Abort,
    EngineFacts,
    EngineRequest,
    EngineStats,
    MediaInput,
    RequestsStarted,
    StepReport,
)


@dataclass(frozen=True)
class EngineDied:
    """The engine is gone, with all that it was sent; the next one begins with nothing. error: for
    whoever waits for an answer."""

    error: EngineDeadError


#: What an engine tells by itself.
EngineEvent = StepReport | RequestsStarted | EngineDied
EngineListener = Callable[[EngineEvent], None]


class EngineClient(Protocol):
    """What can be asked of an engine: in this process (InProcessEngine), in a child process
    (ChildEngine), or elsewhere. All calls return at once; what comes of them are events."""

    @property
    def alive(self) -> bool:
        """Whether requests can be taken now."""

    @property
    def pid(self) -> int | None:
        """The process id of the engine, if it has one on this machine."""

    @property
    def facts(self) -> EngineFacts | None:
        """What requests are checked against; None until an engine has loaded its model. They may
        change after an EngineDied, as another engine may have loaded other weights."""

    @property
    def stats(self) -> EngineStats:
        """The state after the last step, and what the present engine has counted."""

    def listen(self, listener: EngineListener) -> None:
        """Have all events from now on told to a listener, in the thread that uses the client."""

    def check_alive(self) -> None:
        """Raises EngineDeadError if no request can be taken now."""

    def submit(self, request: EngineRequest) -> None:
        """Have a request run. One that can't be, such as for its id, fails by an event.

        Raises EngineDeadError if there is no engine, or another than it was built for;
        OverflowError for a number beyond 64 bits.
        """

    def abort(self, abort: Abort) -> None:
        """End a request, or one of its answers, without further events of it; unknown ones are
        ignored."""

    def supply(self, media: MediaInput) -> None:
        """Give an image that a MediaWanted asked for; it is dropped if nobody needs it now."""
