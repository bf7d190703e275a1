"""Calls in a thread whose stack is deep enough for recursion over a client's text."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

#: Of memory that is taken only as far as it is used. Grammars are compiled by recursion, a frame
#: of up to 16 KiB for each rule that refers to another: with the 8 MiB that threads have, a chain
#: of some hundred rules would end the process.
_STACK_BYTES = 2**28
_lock = threading.Lock()


def with_deep_stack(run: Callable[[], Result]) -> Result:
    """What `run` returns or raises."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(run())
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    with _lock:
        before = threading.stack_size(_STACK_BYTES)
        try:
            thread = threading.Thread(target=call, name="octavo-grammar", daemon=True)
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
