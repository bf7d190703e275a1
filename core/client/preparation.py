"""What is done for a request before the engine has it, which ends if another takes its place."""

from __future__ import annotations

import asyncio
from types import TracebackType

from ..protocol.errors import EngineOverloadedError


class Preparation:
    """A context in the task that prepares, in which `refuse` raises its error as `asyncio.timeout`
    raises its own."""

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._error: EngineOverloadedError | None = None

    def refuse(self, error: EngineOverloadedError) -> None:
        """Let the task go on with this error."""
        if self._task is not None and self._error is None:
            self._error = error
            self._task.cancel()

    def __enter__(self) -> Preparation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Of two who cancel, the other one wants the task to end.
        if self._error is None or self._task is None or self._task.uncancel() > 0:
            return
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            raise self._error from None
