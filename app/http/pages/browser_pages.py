"""What a server answers to browsers, beside its API."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..loading import LoadingApp
from .front_page import front_page
from .icon import icon
from .page_path import PAGE_PATH, is_of_page


class BrowserPages:
    """An ASGI application around `api`, which gets all other requests. page: what answers those
    for the page; None for a server without one."""

    def __init__(self, api: ASGIApp, loading: LoadingApp, page: ASGIApp | None) -> None:
        self._api = api
        self._loading = loading
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._responsible(scope)(scope, receive, send)

    def _responsible(self, scope: Scope) -> ASGIApp:
        if scope["type"] != "http":
            return self._api
        if self._page is not None and is_of_page(scope["path"]):
            return self._page
        if scope["method"] not in ("GET", "HEAD"):
            return self._api
        if scope["path"] == "/favicon.ico":
            return icon()
        if scope["path"] == "/":
            return self._root(Request(scope))
        return self._api

    def _root(self, http: Request) -> Response:
        if self._page is not None:
            return RedirectResponse(PAGE_PATH)
        return front_page(http, self._loading)
