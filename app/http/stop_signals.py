"""What SIGTERM and Ctrl-C ask of a server."""

from __future__ import annotations

import asyncio
import os
import signal

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """The first asks a server to finish what is open and end, the second to end what is open now;
    at the third the process is gone, and its children with it.

    is_serving: whether there may be anything open; a server that is loading ends at once.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self.is_serving = False

    def listen(self) -> None:
        """From now on, in the running event loop."""
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._take, number)

    def _take(self, number: int) -> None:
        if self.hurry.is_set():
            os._exit(128 + number)
        (self.hurry if self.stop.is_set() else self.stop).set()


def end_silently() -> None:
    """Until `listen`, end at the first signal, without a traceback; children end with us."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
