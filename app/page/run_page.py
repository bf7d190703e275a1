"""Serves the page, in a process of its own: a child of the server at whose address it is shown."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import fastapi
import uvicorn
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ...core.process.heartbeat import Ping, Pong
from ...core.process.wire import Connection
from ..http.pages.page_messages import PageListens, PageSettings
from ..http.pages.page_path import PAGE_PATH
from .server.server_api import ServerApi


def main(sock: socket.socket) -> None:
    """Serve it until the parent hangs up. sock: to the parent; see Spawned."""
    connection: Connection[PageSettings | Ping] = Connection(sock, PageSettings | Ping)
    settings = connection.receive()
    if not isinstance(settings, PageSettings):
        return
    # Read when Gradio is imported: where it keeps what is dropped on the page.
    os.environ["GRADIO_TEMP_DIR"] = os.path.join(settings.folder, "files")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    asyncio.run(_serve(connection, settings))


async def _serve(connection: Connection[PageSettings | Ping], settings: PageSettings) -> None:
    server = ServerApi(settings.base_url, settings.api_key, through_proxies=not settings.is_own)
    app = _application(server, settings.max_file_bytes)
    loop = asyncio.get_running_loop()

    def answer_parent() -> None:
        while connection.receive() is not None:
            loop.call_soon_threadsafe(lambda: connection.send(connection.encode(Pong())))
        # It removes what is left of us.
        os._exit(0)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(settings.socket)
        listening.listen()
        threading.Thread(target=answer_parent, name="octavo-page-parent", daemon=True).start()
        connection.send(connection.encode(PageListens()))
        config = uvicorn.Config(
            _UnlessGone(app),
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            # Of the parent alone, which passes on what its own clients and proxies say.
            forwarded_allow_ips="*",
        )
        await uvicorn.Server(config).serve(sockets=[listening])


class _UnlessGone:
    """An ASGI application around another, which doesn't make a failure of a visitor who leaves
    while something is sent to the page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(ClientDisconnect):
            await self._app(scope, receive, send)


def _application(server: ServerApi, max_file_bytes: int) -> fastapi.FastAPI:
    import gradio as gr

    from .frame.content_policy import ContentPolicy
    from .frame.look import CSS, theme
    from .page import build_page

    @asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        yield
        await server.close()

    app = fastapi.FastAPI(lifespan=lifespan, openapi_url=None)
    app.add_middleware(ContentPolicy)
    mounted: fastapi.FastAPI = gr.mount_gradio_app(
        app,
        build_page(server),
        PAGE_PATH,
        footer_links=[],
        run_history=False,
        max_file_size=max_file_bytes,
        ssr_mode=False,
        theme=theme(),
        css=CSS,
    )
    return mounted
