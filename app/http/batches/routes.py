"""Where the API has files and batches."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .batch_endpoints import cancel_batch, create_batch, list_batches, one_batch
from .files import file_content, list_files, one_file, upload_file


def batch_routes() -> list[Route]:
    """For a server whose application has a BatchService in `state.batches`."""
    return [
        Route("/v1/files", _files, methods=["GET", "POST"]),
        Route("/v1/files/{id}", one_file, methods=["GET", "DELETE"]),
        Route("/v1/files/{id}/content", file_content, methods=["GET"]),
        Route("/v1/batches", _batches, methods=["GET", "POST"]),
        Route("/v1/batches/{id}", one_batch, methods=["GET"]),
        Route("/v1/batches/{id}/cancel", cancel_batch, methods=["POST"]),
    ]


async def _files(http: Request) -> Response:
    return await (upload_file if http.method == "POST" else list_files)(http)


async def _batches(http: Request) -> Response:
    return await (create_batch if http.method == "POST" else list_batches)(http)
