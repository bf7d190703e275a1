"""Taking connections, as many at once as there is room for."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
import time
from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

_MOST = 4096
_LEAST = 8
#: For the pipes, pictures and stores of requests.
_KEPT_DESCRIPTORS = 32
_PAUSE_S = 0.1
_COMPLAINT_PAUSE_S = 60.0
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)

#: Makes the protocol of a connection, which calls what it is given at the connection's end.
MakeProtocol = Callable[[Callable[[], None]], asyncio.Protocol]


class Acceptor:
    """Those who call while `max_open` are open are kept waiting by the system, and so a descriptor
    is always left to work with. sockets: listening ones, which become ours."""

    def __init__(
        self, sockets: Sequence[socket.socket], max_open: int, make_protocol: MakeProtocol
    ) -> None:
        self._sockets = sockets
        self._max_open = max_open
        self._make_protocol = make_protocol
        self._room = asyncio.Semaphore(max_open)
        self._tasks: list[asyncio.Task[None]] = []
        self._complained = -_COMPLAINT_PAUSE_S

    def start(self) -> None:
        """Begin, in the running event loop."""
        for sock in self._sockets:
            sock.setblocking(False)
            self._tasks.append(asyncio.ensure_future(self._accept(sock)))

    async def stop(self) -> None:
        """Take no more; what is open goes on."""
        for task in self._tasks:
            task.cancel()
        # Before their numbers may be other files'.
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sock in self._sockets:
            sock.close()

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._room.locked():
                self._complain(f"{self._max_open} connections are open")
            await self._room.acquire()
            try:
                connection, _ = await loop.sock_accept(sock)
                await loop.connect_accepted_socket(
                    lambda: self._make_protocol(self._room.release), connection
                )
            except OSError as error:
                # The one that called is gone, or there is no descriptor or memory left.
                self._room.release()
                if error.errno in _NO_DESCRIPTOR:
                    self._complain(f"no more connections can be opened: {error.strerror}")
                await asyncio.sleep(_PAUSE_S)

    def _complain(self, what: str) -> None:
        """Seldom: the log must not grow with those who call."""
        if time.monotonic() - self._complained >= _COMPLAINT_PAUSE_S:
            self._complained = time.monotonic()
            logger.warning(
                "%s; new ones wait until others end, see --max-connections and ulimit -n", what
            )


def default_max_connections() -> int:
    """As many as this process may have files open beside those that it has, up to 4,096."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return _MOST
    used = len(os.listdir("/proc/self/fd"))
    return min(_MOST, max(_LEAST, allowed - used - _KEPT_DESCRIPTORS))
