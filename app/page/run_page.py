"""Serves the page, in a process of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import fastapi
import uvicorn
from starlette.responses import RedirectResponse, Response

from .server_api import ServerApi

#: Where it is, on a server of its own too.
PATH = "/ui"


def run_page(base_url: str, api_key: str | None, host: str, port: int, max_file_bytes: int) -> None:
    """Serve it until a signal. base_url: of the server that it asks."""
    with tempfile.TemporaryDirectory(prefix="octavo-page-") as folder:
        # Read when Gradio is imported: where it keeps what is dropped on the page.
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        app = _application(ServerApi(base_url, api_key), max_file_bytes)
        uvicorn.run(app, host=host, port=port, log_level="warning")


def _application(server: ServerApi, max_file_bytes: int) -> fastapi.FastAPI:
    import gradio as gr

    from .frame.content_policy import ContentPolicy
    from .look import CSS, ICON, theme
    from .page import build_page

    @asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        yield
        await server.close()

    app = fastapi.FastAPI(lifespan=lifespan, openapi_url=None)
    app.add_middleware(ContentPolicy)

    @app.get("/")
    async def to_page() -> RedirectResponse:
        return RedirectResponse(PATH)

    @app.get("/favicon.ico")
    async def icon() -> Response:
        return Response(ICON, media_type="image/svg+xml")

    mounted: fastapi.FastAPI = gr.mount_gradio_app(
        app,
        build_page(server),
        PATH,
        footer_links=[],
        run_history=False,
        max_file_size=max_file_bytes,
        ssr_mode=False,
        theme=theme(),
        css=CSS,
    )
    return mounted


if __name__ == "__main__":
    import sys

    run_page(sys.argv[1], None, "127.0.0.1", int(sys.argv[2]), 64 * 2**20)
