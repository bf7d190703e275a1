"""What Ollama's clients ask about models: GET /api/tags, /api/ps and /api/version, POST /api/show;
and what is refused, as a server has one model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .... import __version__
from ..application import Served, not_served
from ..errors import HttpError
from ..json_body import read_fields
from .model_names import check_name, with_tag
from .ollama_fields import SHOW_FIELDS

#: Of a model that is never let go.
_NEVER = "9999-12-31T23:59:59Z"
_ARCHITECTURE = "octavo"


class Listed(Served, Protocol):
    """A served model, as these endpoints ask for it."""

    max_body_bytes: int

    @property
    def chat_template(self) -> str:
        """In Jinja; "" if there is none."""


async def tags(http: Request) -> Response:
    """The models that there are."""
    return JSONResponse({"models": [_listed(http.app.state.server)]})


async def running(http: Request) -> Response:
    """The models that are loaded."""
    server: Listed = http.app.state.server
    loaded = {"expires_at": _NEVER, "size_vram": 0}
    length = server.model_facts().get("max_model_len")
    context = {} if length is None else {"context_length": length}
    return JSONResponse({"models": [{**_listed(server), **loaded, **context}]})


async def show(http: Request) -> Response:
    """What is known of a model."""
    server: Listed = http.app.state.server
    body = await read_fields(http, SHOW_FIELDS, server.max_body_bytes)
    name = body.model or body.name
    if name is None:
        raise HttpError(400, "model is missing: the name of the model to show", "model")
    check_name(name, server.model_name)
    facts = server.model_facts()
    counts = {"max_model_len": "context_length", "dimensions": "embedding_length"}
    known = {name: facts[fact] for fact, name in counts.items() if fact in facts}
    return JSONResponse(
        {
            "modelfile": "",
            "parameters": "",
            "template": server.chat_template,
            "details": _details(server),
            "model_info": {
                "general.architecture": _ARCHITECTURE,
                **{f"{_ARCHITECTURE}.{fact}": count for fact, count in known.items()},
            },
            "capabilities": _capabilities(facts),
            "modified_at": _started(server),
        }
    )


async def version(http: Request) -> Response:
    """Octavo's."""
    return JSONResponse({"version": __version__})


def listing_routes(model_name: str) -> list[Route]:
    """Of every server."""
    refuse = not_served(
        f"models are neither got, made nor deleted here: the server has one model, {model_name!r}, "
        "as its operator started it; another is served by another `octavo serve`",
        status=501,
    )
    changes = ("pull", "push", "create", "copy", "blobs/{digest}")
    return [
        Route("/api/tags", tags),
        Route("/api/ps", running),
        Route("/api/show", show, methods=["POST"]),
        Route("/api/version", version),
        *(Route(f"/api/{name}", refuse, methods=["POST"]) for name in changes),
        Route("/api/delete", refuse, methods=["DELETE"]),
    ]


def _listed(server: Listed) -> dict[str, Any]:
    name = with_tag(server.model_name)
    return {
        "name": name,
        "model": name,
        "modified_at": _started(server),
        "size": 0,
        # That clients tell models apart by.
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": _details(server),
    }


def _capabilities(facts: Mapping[str, Any]) -> list[str]:
    """In Ollama's words. facts: those of GET /v1/models."""
    writes = "text" in facts["output_modalities"]
    can = {
        "completion": writes,
        "embedding": "embedding" in facts["output_modalities"],
        "vision": writes and "image" in facts["input_modalities"],
        "tools": "tools" in facts["features"],
        "thinking": "reasoning" in facts["features"],
    }
    return [name for name, is_so in can.items() if is_so]


def _details(server: Listed) -> dict[str, Any]:
    info = server.info()
    return {
        "parent_model": "",
        "format": "",
        "family": _ARCHITECTURE,
        "families": [_ARCHITECTURE],
        "parameter_size": "",
        "quantization_level": info.quantization or info.dtype,
    }


def _started(server: Listed) -> str:
    return datetime.fromtimestamp(server.started, UTC).isoformat().replace("+00:00", "Z")
