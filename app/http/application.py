"""The ASGI application of every server, whatever its model does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Protocol

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ... import __version__
from ...core.observe.http_metrics import HttpMetrics
from ..serving.server_info import ServerInfo
from ..tenants.key_ring import KeyRing
from .api_document.docs_page import docs_page
from .api_document.document import api_document, encoded
from .errors import EXCEPTION_HANDLERS, HttpError, error_body
from .json_body import check_model
from .key_check import KeyCheck
from .loading import answer_alive
from .middleware import middleware
from .request_counts import RequestCounts


class Served(Protocol):
    """A served model, as the endpoints that all servers have ask for it."""

    @property
    def model_name(self) -> str:
        """By which requests name it."""

    @property
    def started(self) -> int:
        """When the server started, in seconds of the epoch."""

    @property
    def alive(self) -> bool:
        """Whether requests can be taken now."""

    def health(self) -> Mapping[str, int | None]:
        """Of the model's process, for GET /health."""

    def model_facts(self) -> Mapping[str, Any]:
        """What GET /v1/models tells of the model beside OpenAI's fields."""

    def info(self) -> ServerInfo:
        """For GET /info."""

    def metrics_registry(self) -> CollectorRegistry:
        """The metrics, brought up to date."""

    @property
    def http_metrics(self) -> HttpMetrics:
        """Those of requests."""


def create_application(
    server: Served,
    routes: Sequence[Route],
    allowed_origins: Sequence[str],
    keys: KeyRing | None,
) -> Starlette:
    """The common endpoints and `routes`, whose handlers find the server in `app.state.server`.
    allowed_origins, keys: see ListenConfig."""
    every = [
        *routes,
        Route("/health", _health),
        Route("/health/ready", _health),
        Route("/health/live", answer_alive),
        Route("/ping", _health, methods=["GET", "POST"]),
        Route("/version", _version),
        Route("/info", _info),
        Route("/metrics", _metrics),
        Route("/openapi.json", _openapi),
        Route("/docs", _docs),
        Route("/v1/models", _list_models),
        Route("/v1/models/{id:path}", _list_models),
    ]
    counts = Middleware(RequestCounts, metrics=server.http_metrics, routes=every)
    check = (
        [] if keys is None else [Middleware(KeyCheck, keys=keys, metrics=server.http_metrics.keys)]
    )
    app = Starlette(
        routes=every,
        middleware=[counts, *middleware(allowed_origins, *check)],
        exception_handlers=EXCEPTION_HANDLERS,
    )
    app.state.server = server
    # Written when it is first asked for: that takes as long as some requests.
    served = [route for route in every if is_served(route)]
    app.state.api = cache(partial(api_document, served, keys is not None))
    return app


def not_served(message: str, status: int = 404) -> Callable[[Request], Awaitable[Response]]:
    """The handler of an endpoint that the model has no answers for."""
    return partial(_refuse, message, status)


def is_served(route: Route) -> bool:
    """Whether a route is to another handler than that."""
    return not isinstance(route.endpoint, partial) or route.endpoint.func is not _refuse


async def _refuse(message: str, status: int, request: Request) -> Response:
    raise HttpError(status, message, "model")


async def _health(request: Request) -> Response:
    """GET /health and /health/ready, and /ping as some platforms call it: 200 while requests can be
    taken."""
    server: Served = request.app.state.server
    if not server.alive:
        body = error_body("the engine is restarting", "server_error", None, "engine_dead")
        return JSONResponse(body, status_code=503)
    return JSONResponse({"status": "ok", **server.health()})


async def _version(request: Request) -> Response:
    """GET /version, of Octavo."""
    return JSONResponse({"version": __version__})


async def _info(request: Request) -> Response:
    """GET /info, also of an engine that is being restarted."""
    server: Served = request.app.state.server
    return Response(msgspec.json.encode(server.info()), media_type="application/json")


async def _metrics(request: Request) -> Response:
    """GET /metrics, for Prometheus."""
    server: Served = request.app.state.server
    exposition = generate_latest(server.metrics_registry())
    return Response(exposition, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _openapi(request: Request) -> Response:
    """GET /openapi.json, of the endpoints that the model has answers for."""
    return Response(encoded(request.app.state.api()), media_type="application/json")


async def _docs(request: Request) -> Response:
    """GET /docs, the same as a page."""
    return docs_page(request.app.state.api())


async def _list_models(request: Request) -> Response:
    """GET /v1/models, and /v1/models/{id}."""
    server: Served = request.app.state.server
    model = {
        "id": server.model_name,
        "object": "model",
        "created": server.started,
        "owned_by": "octavo",
        **server.model_facts(),
    }
    if "id" not in request.path_params:
        return JSONResponse({"object": "list", "data": [model]})
    check_model(request.path_params["id"], server.model_name)
    return JSONResponse(model)
