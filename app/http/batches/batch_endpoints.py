"""/v1/batches: many requests in a file, answered when there is room for them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...batches.batch_store import Batch
from ...batches.batches import Batches
from ..client_identity import caller_of
from ..errors import HttpError
from ..field_table import FieldTable
from ..json_body import read_fields
from .batch_service import batches_of, service_of
from .paging import page, read_limit, read_query, unknown_id

_MAX_LISTED = 100
_LISTED = 20
_MAX_BODY_BYTES = 2**20
_MAX_PAIRS = 16
_MAX_KEY = 64
_MAX_VALUE = 512


class BatchRequest(msgspec.Struct):
    """The fields that are honoured. endpoint: to which all lines of the file go."""

    input_file_id: str
    endpoint: str
    metadata: dict[str, str] | None = None
    completion_window: str = "24h"

    def check(self, endpoints: tuple[str, ...]) -> None:
        """Raises HttpError. endpoints: those that are served."""
        if self.endpoint not in endpoints:
            message = f"endpoint can only be {' or '.join(endpoints)} here"
            raise HttpError(400, message, "endpoint", "unsupported_value")
        pairs = self.metadata or {}
        if len(pairs) > _MAX_PAIRS:
            raise HttpError(400, f"metadata has more than {_MAX_PAIRS} pairs", "metadata")
        for key, value in pairs.items():
            if len(key) > _MAX_KEY or len(value) > _MAX_VALUE:
                message = f"metadata: a key has at most {_MAX_KEY} characters, a value {_MAX_VALUE}"
                raise HttpError(400, message, "metadata")


BATCH_FIELDS = FieldTable(
    BatchRequest,
    fixed={"completion_window": ("24h",)},
    refused={"output_expires_after": "files are kept until they are deleted"},
    free=frozenset({"metadata"}),
)


async def create_batch(http: Request) -> Response:
    """Begin a batch of a file that was sent before."""
    body = await read_fields(http, BATCH_FIELDS, _MAX_BODY_BYTES)
    body.check(service_of(http).endpoints)
    batches = await batches_of(http)
    owner = caller_of(http).key_name
    file = await asyncio.to_thread(batches.storage.files.get, body.input_file_id)
    if file is None or file.owner != owner:
        raise unknown_id("file", body.input_file_id, "input_file_id")
    if file.purpose != "batch":
        message = f"{file.id} has the purpose {file.purpose}, and a batch's input has batch"
        raise HttpError(400, message, "input_file_id")
    try:
        batch = await batches.create(file.id, body.endpoint, body.metadata, owner)
    except OSError as error:
        message = f"the batch can't be kept: {error.strerror or error}"
        raise HttpError(507, message, None, "storage_full") from error
    return JSONResponse(await batches.told(batch))


async def list_batches(http: Request) -> Response:
    """The newest first."""
    batches = await batches_of(http)
    query = read_query(http, ("limit", "after"))
    limit, after = read_limit(query, _LISTED, _MAX_LISTED), query.get("after")
    found = await batches.page(after, limit + 1, caller_of(http).key_name)
    if found is None:
        raise unknown_id("batch", after or "", "after")
    told: list[dict[str, Any]] = [await batches.told(batch) for batch in found]
    return JSONResponse(page(told, limit))


async def one_batch(http: Request) -> Response:
    """Tell where a batch stands."""
    batches = await batches_of(http)
    read_query(http, ())
    return JSONResponse(await batches.told(await _find(http, batches)))


async def cancel_batch(http: Request) -> Response:
    """End a batch: what has been answered is in its files."""
    batches = await batches_of(http)
    read_query(http, ())
    batch = await _find(http, batches)
    cancelled = await batches.cancel(batch.id)
    if cancelled is None:
        batch = await _find(http, batches)
        if batch.status != "cancelling":
            message = f"{batch.id} is {batch.status}, and can't be cancelled"
            raise HttpError(409, message, "batch_id", "batch_ended")
        cancelled = batch
    return JSONResponse(await batches.told(cancelled))


async def _find(http: Request, batches: Batches) -> Batch:
    batch_id = http.path_params["id"]
    batch = await batches.get(batch_id)
    if batch is None or batch.owner != caller_of(http).key_name:
        raise unknown_id("batch", batch_id, "batch_id")
    return batch
