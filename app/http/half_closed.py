"""HTTP/1.1 for clients that close their side of a connection once they have sent a request."""

from __future__ import annotations

import asyncio
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

_PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PROBE_INTERVAL_S = 0.1
#: TCP_CLOSE of Linux, in which a connection is that was reset.
_TCP_CLOSED = 7


class HalfClosedProtocol(H11Protocol):
    """Answers a request whose client has shut its writing side, as RFC 9112 section 9.6 allows.

    The end of what a client sends looks the same whether it still reads or has gone. Only what
    is sent tells: one who has gone resets the connection. So an interim answer is sent, which
    clients skip (RFC 9110 section 15.2), and the request is given up if a reset follows.
    """

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Whether the connection stays open: while a request that came whole is answered."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body:
            return None
        cycle.keep_alive = False
        # HTTP/1.0 knows no interim answers; such a request runs to its end.
        if not cycle.response_started and self.scope["http_version"] == "1.1":
            self.transport.write(_PROBE)
            self.loop.call_later(_PROBE_INTERVAL_S, self._look_for_reset)
        return True

    def _look_for_reset(self) -> None:
        """Once the answer has begun, writing it tells of a reset."""
        cycle = self.cycle
        if cycle is None or cycle.response_started or self.transport.is_closing():
            return
        if _is_reset(self.transport):
            self.transport.abort()
        else:
            self.loop.call_later(_PROBE_INTERVAL_S, self._look_for_reset)


def _is_reset(transport: asyncio.Transport) -> bool:
    connection: socket.socket = transport.get_extra_info("socket")
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSED
