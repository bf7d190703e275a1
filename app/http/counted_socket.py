"""A listening socket that leaves connections waiting once so many are open."""

from __future__ import annotations

import errno
import os
import resource
import socket
from typing import Any

_MOST = 4096
_LEAST = 8
#: For the pipes, pictures and stores of requests.
_KEPT_DESCRIPTORS = 32


class CountedSocket(socket.socket):
    """`accept` fails as if descriptors had run out, whereupon asyncio pauses for a second; the
    system keeps those who call meanwhile. So a descriptor is always left to work with."""

    def __init__(self, sock: socket.socket, max_open: int) -> None:
        """Takes the socket over."""
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self._max_open = max_open
        self._open: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises OSError if too many are open."""
        if len(self._open) >= self._max_open:
            self._open = [sock for sock in self._open if sock.fileno() != -1]
            if len(self._open) >= self._max_open:
                raise OSError(errno.EMFILE, f"{self._max_open} connections are open")
        accepted = super().accept()
        self._open.append(accepted[0])
        return accepted


def default_max_connections() -> int:
    """As many as this process may have files open beside those that it has, up to 4,096."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return _MOST
    used = len(os.listdir("/proc/self/fd"))
    return min(_MOST, max(_LEAST, allowed - used - _KEPT_DESCRIPTORS))
