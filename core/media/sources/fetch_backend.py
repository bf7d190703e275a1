"""Names to addresses, and connections to addresses that were checked."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpcore

logger = logging.getLogger(__name__)

#: (host, port) -> IP addresses, best first. Raises OSError if there are none.
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

#: Apart from other work, as a look-up that was given up holds its thread until it ends.
_LOOK_UPS = ThreadPoolExecutor(8, "octavo-resolver")
_ConnectFailure = (httpcore.ConnectError, httpcore.ConnectTimeout)


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """The addresses of a host by the system's resolver, in a thread. Raises OSError."""
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    answers = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, look_up)
    return [str(sockaddr[0]) for *_, sockaddr in answers]


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the given addresses, in order, whatever the host that it is asked for.

    So Host, SNI and the certificate's name stay the host's, and no second look-up can give
    another address. An attempt is given up after attempt_timeout seconds.
    """

    def __init__(self, addresses: Sequence[str], attempt_timeout: float) -> None:
        self._addresses = addresses
        self._attempt_timeout = attempt_timeout
        self._backend = httpcore.AnyIOBackend()
        self._stream: httpcore.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises httpcore.ConnectError or ConnectTimeout of the last address."""
        *others, last = self._addresses
        for address in others:
            try:
                return await self._connect(address, port)
            except _ConnectFailure as error:
                logger.info("%s at %s: %r; trying its next address", host, address, error)
        return await self._connect(last, port)

    async def _connect(self, address: str, port: int) -> httpcore.AsyncNetworkStream:
        self._stream = await self._backend.connect_tcp(address, port, self._attempt_timeout)
        return self._stream

    async def close(self) -> None:
        """Close the connection, also one whose TLS handshake was cut off."""
        if self._stream is not None:
            await self._stream.aclose()
