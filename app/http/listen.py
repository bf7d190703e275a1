"""Where a server listens, and running an application there from before its model is loaded until
it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from ..tenants.key_ring import KeyRing
from .acceptor import Acceptor, default_max_connections
from .access_log import ACCESS_LOGS, access_log
from .batches.batch_service import BatchConfig
from .bound_sockets import port_refusal
from .loading import LoadedApp, LoadingApp
from .open_requests import OpenRequests
from .pages.browser_pages import BrowserPages
from .pages.page_life import running_page
from .pages.page_process import PageConfig
from .pages.page_proxy import PageProxy
from .patient_protocol import PatientProtocol
from .stop_signals import StopSignals

logger = logging.getLogger(__name__)

_SWITCH_INTERVAL_S = 0.001
_BACKLOG = 2048
#: What requests have to tell their clients that they are cut.
_LAST_WORDS_S = 2.0


@dataclass(frozen=True)
class ListenConfig:
    """sockets: bound ones. max_body_bytes: of one request. drain_timeout: seconds that open
    requests have to end once the server is told to. max_connections: beyond, they wait; None is
    what the limit on open files allows. allowed_origins: of web pages that may use the API from a
    browser; "*" is any. access_log: see `access_log`. page, batches: None for a server without.
    keys: of those who are served; None serves everybody."""

    sockets: list[socket.socket]
    max_body_bytes: int
    drain_timeout: float
    max_connections: int | None
    allowed_origins: tuple[str, ...] = ()
    access_log: str = ACCESS_LOGS[0]
    page: PageConfig | None = None
    batches: BatchConfig | None = None
    keys: KeyRing | None = None


async def run_app(
    loading: LoadingApp,
    load: Callable[[], AbstractAsyncContextManager[LoadedApp]],
    listen: ListenConfig,
    signals: StopSignals,
) -> bool:
    """Answer from now on, serve what `load` gives once it is there, and return when told to stop:
    whether all requests were answered whole.

    Raises ConfigError if another server listens there by now, and what `load` raises.
    """
    sockets = _listening(listen)
    requests = OpenRequests(loading)
    # It would say that the application has started when nothing can be asked of it yet.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    async with running_page(listen.page, sockets, listen.max_body_bytes) as page:
        # Visitors of the page are not waited for, but what they send has to come in time, too.
        visits = None if page is None else OpenRequests(page)
        server = _server(BrowserPages(requests, loading, visits), sockets, listen)
        serving = asyncio.ensure_future(server.serve(sockets=[]))
        with access_log(listen.access_log):
            try:
                async with load() as loaded:
                    seconds = loading.open(loaded)
                    signals.is_serving = True
                    ends = [
                        _end(server, requests, listen.drain_timeout, signals, loaded),
                        _end_visits(page, requests, signals),
                    ]
                    endings = [asyncio.ensure_future(end) for end in ends]
                    _announce(sockets, loading.model_name, loaded, seconds)
                    try:
                        await serving
                    finally:
                        for ending in endings:
                            ending.cancel()
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
                await server.acceptor.stop()
    return not requests.num_cut


def _server(app: ASGIApp, sockets: list[socket.socket], listen: ListenConfig) -> _Server:
    config = uvicorn.Config(
        app,
        # Its own would write what headers hold as it is; ours escapes it.
        log_config=None,
        lifespan="off",
        # The last resort, for what is stuck.
        timeout_graceful_shutdown=int(listen.drain_timeout + 2 * _LAST_WORDS_S) + 1,
    )
    return _Server(config, sockets, listen.max_connections or default_max_connections())


class _Server(uvicorn.Server):
    """uvicorn's, which neither accepts connections nor takes signals: it would raise them again
    before the engine is ended in order."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], max_connections: int
    ) -> None:
        super().__init__(config)
        self.acceptor = Acceptor(sockets, max_connections, partial(PatientProtocol, self))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.acceptor.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.acceptor.stop()
        await super().shutdown(sockets)


def _listening(listen: ListenConfig) -> list[socket.socket]:
    for sock in listen.sockets:
        try:
            sock.listen(_BACKLOG)
        except OSError as error:
            raise port_refusal(error, sock.getsockname()[1]) from error
    return listen.sockets


async def _end(
    server: uvicorn.Server,
    requests: OpenRequests,
    drain_timeout: float,
    signals: StopSignals,
    loaded: LoadedApp,
) -> None:
    """When told to stop, take no more connections, and cut what is not done in time. To be
    cancelled once all has ended."""
    await signals.stop.wait()
    server.should_exit = True
    loaded.drain()
    if requests.num_open:
        logger.info("%d requests have %g s to end", requests.num_open, drain_timeout)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(drain_timeout):
            await signals.hurry.wait()
    if requests.num_open:
        logger.warning("%d requests are cut", requests.num_open)
    loaded.cut()
    requests.cut()
    # Clients that don't read what they are told are hung up on.
    await asyncio.sleep(_LAST_WORDS_S)
    for connection in list(server.server_state.connections):
        connection.transport.abort()


async def _end_visits(page: PageProxy | None, requests: OpenRequests, signals: StopSignals) -> None:
    """When told to stop, let the page's visitors go; those who wait for an answer, once they have
    it."""
    await signals.stop.wait()
    if page is None:
        return
    if requests.num_open:
        await requests.until_none()
        await asyncio.sleep(_LAST_WORDS_S)
    page.cut()


def _announce(
    sockets: Sequence[socket.socket], name: str, loaded: LoadedApp, seconds: float
) -> None:
    """Say that the server is ready, and what to do next."""
    for sock in sockets:
        logger.info("serving %s on %s, ready after %.1f s", name, _url(sock), seconds)
    if loaded.example is not None:
        logger.info("try: %s", loaded.curl(_url(sockets[0])))


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_until_stopped(serve: Callable[[StopSignals], Coroutine[Any, Any, bool]]) -> int:
    """Run a server in an event loop of its own; returns the exit status: 0, or 1 if it had to cut
    requests. After a signal the process ends here, once everything is put away.

    serve: returns whether it had not; it is cancelled when the server is to stop while it loads.
    """
    # So that the event loop need not wait long for threads that read large requests.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    with asyncio.Runner() as runner:
        signals, status = runner.run(_run(serve))
        if signals.stop.is_set():
            logging.shutdown()
            sys.stdout.flush()
            # Threads that still read a tokenizer or a picture are not waited for.
            os._exit(status)
    return status


async def _run(
    serve: Callable[[StopSignals], Coroutine[Any, Any, bool]],
) -> tuple[StopSignals, int]:
    signals = StopSignals()
    signals.listen()
    serving = asyncio.ensure_future(serve(signals))
    stop = asyncio.ensure_future(signals.stop.wait())
    await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not signals.is_serving:
        serving.cancel()
    try:
        return signals, 0 if await serving else 1
    except asyncio.CancelledError:
        return signals, 0
