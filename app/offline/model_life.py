"""When a model that lives in this process can be used."""

from __future__ import annotations

import os
from typing import NoReturn

#: The process that loaded the first model; forked ones inherit the number.
_loaded_in: int | None = None


class ModelLife:
    """From loading to `close`, and in no process that is forked from this one: threads that compute
    are not there, and who waits for them waits for ever.

    kind: of the model, such as "LLM". Raises RuntimeError in a process that was forked from one in
    which a model was loaded.
    """

    def __init__(self, kind: str) -> None:
        global _loaded_in
        self._kind = kind
        self._pid = os.getpid()
        self._closed = False
        if _loaded_in not in (None, self._pid):
            self._refuse_fork()
        _loaded_in = self._pid

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def ended(self) -> bool:
        """Whether it was closed, or never began in this process."""
        return self._closed or os.getpid() != self._pid

    def check(self) -> None:
        """Raises RuntimeError if it can't be used, at once rather than never to answer."""
        if os.getpid() != self._pid:
            self._refuse_fork()
        if self._closed:
            raise RuntimeError(f"this {self._kind} is closed; make another one to go on")

    def close(self) -> bool:
        """Whether there is anything to close: once, and only in the process that loaded it."""
        if self.ended:
            return False
        self._closed = True
        return True

    def refuse_pickle(self, instead: str) -> NoReturn:
        """Raises TypeError, which says what can be pickled instead."""
        raise TypeError(
            f"the model of an {self._kind} lives in this process, so that it can't be pickled; "
            f"{instead}"
        )

    def _refuse_fork(self) -> NoReturn:
        raise RuntimeError(
            f"this process ({os.getpid()}) was forked from one that had loaded a model "
            f"({_loaded_in}); the model's threads are only there, so that it would wait for ever. "
            'Start processes with "spawn" (multiprocessing.get_context("spawn"), or '
            f"mp_context= of ProcessPoolExecutor), and make the {self._kind} in them"
        )
