"""Answers of every server, whatever its model does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .errors import HttpError, error_body
from .json_body import check_model


def restarting() -> Response:
    """GET /health while no requests can be taken."""
    return JSONResponse(
        error_body("the engine is restarting", "server_error", None, "engine_dead"),
        status_code=503,
    )


def exposition(registry: CollectorRegistry) -> Response:
    """GET /metrics, for Prometheus."""
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def model_facts(request: Request, name: str, created: int, **facts: int) -> Response:
    """GET /v1/models and /v1/models/{id}. facts: of this model, beside OpenAI's."""
    model = {"id": name, "object": "model", "created": created, "owned_by": "octavo", **facts}
    if "id" not in request.path_params:
        return JSONResponse({"object": "list", "data": [model]})
    check_model(request.path_params["id"], name)
    return JSONResponse(model)


def not_served(message: str) -> Callable[[Request], Awaitable[Response]]:
    """The handler of an endpoint that the model has no answers for."""

    async def refuse(request: Request) -> Response:
        raise HttpError(404, message, "model")

    return refuse
