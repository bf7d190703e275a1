"""A thread that steps the engine of this process while any request runs."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

from .offline_engine import OfflineEngine

logger = logging.getLogger(__name__)

Action = Callable[[], None]


class StepThread:
    """Does what it is told between two steps, in order, so that who tells it never waits for a
    step. An action must not raise. From its making to `stop`, or the interpreter's end."""

    def __init__(self, engine: OfflineEngine) -> None:
        self._engine = engine
        self._actions: SimpleQueue[Action | None] = SimpleQueue()
        self._stopping = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="octavo-steps", daemon=True)
        self._thread.start()
        # A step that still computes when the interpreter is taken apart would crash.
        atexit.register(self.stop)

    def do(self, action: Action) -> None:
        """Have something done, such as adding a request or ending one; at once, after `stop`."""
        with self._stopping:
            if not self._stopped:
                self._actions.put(action)
                return
        action()

    def stop(self) -> None:
        """Do what was told so far, and end; requests stay as they are."""
        atexit.unregister(self.stop)
        with self._stopping:
            self._stopped = True
            self._actions.put(None)
        self._thread.join()

    def _work(self) -> None:
        busy = False
        while True:
            for action in self._told(wait=not busy):
                if action is None:
                    return
                action()
            busy = self._step()

    def _told(self, wait: bool) -> Iterator[Action | None]:
        if wait:
            yield self._actions.get()
        while not self._actions.empty():
            yield self._actions.get()

    def _step(self) -> bool:
        """Whether more is left to do. What fails here would leave all that wait without a word."""
        if self._engine.ended:
            return False
        try:
            return self._engine.step()
        except Exception as error:
            if not self._engine.ended:  # who closes it tells those that wait
                logger.exception("a step failed")
                self._engine.fail(f"the engine failed: {error}")
            return False
