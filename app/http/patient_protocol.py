"""HTTP/1.1 whose clients must send a request's headers in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import uvicorn

from .errors import error_body
from .half_closed import HalfClosedProtocol

HEADERS_TIMEOUT_S = 20.0


class PatientProtocol(HalfClosedProtocol):
    """uvicorn's own would wait for ever for a client that sends its headers byte by byte.
    A connection that is kept alive without a word is uvicorn's to end."""

    def __init__(self, server: uvicorn.Server, on_lost: Callable[[], None]) -> None:
        """Of a server that has started. on_lost: is called at the connection's end."""
        super().__init__(server.config, server.server_state, server.lifespan.state)
        self._on_lost = on_lost
        self._timer: asyncio.TimerHandle | None = None
        self._has_begun = False

    def connection_made(self, transport: Any) -> None:
        """A client has connected."""
        super().connection_made(transport)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        """A piece of a request has come."""
        self._has_begun = True
        super().data_received(data)
        if not self._is_idle():
            self._stop_timer()
        elif self._timer is None:
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._stop_timer()
        super().connection_lost(exc)
        self._on_lost()

    def _is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _expect_headers(self) -> None:
        self._timer = self.loop.call_later(HEADERS_TIMEOUT_S, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if not self._is_idle() or self.transport.is_closing():
            return
        if self._has_begun:
            message = f"the request's headers did not come within {HEADERS_TIMEOUT_S:.0f} s"
            body = msgspec.json.encode(error_body(message, "invalid_request_error", None, None))
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
        self.transport.close()
