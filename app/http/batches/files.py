"""/v1/files: what batches read, and what they have written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import BinaryIO

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ...batches.batches import Batches
from ...batches.file_store import StoredFile
from ..client_identity import caller_of
from ..errors import HttpError
from ..field_table import shortened
from ..request_body import body_chunks
from .batch_service import batches_of
from .paging import page, read_limit, read_query, unknown_id

#: Of a form beside the file.
_AROUND_FILE = 2**16
_MAX_LISTED = 10_000
_PIECE = 2**18
_MAX_NAME = 255
_MAX_FIELDS = 100
_PURPOSES = ("batch", "batch_output")
_FIELDS = ("file", "purpose")


async def upload_file(http: Request) -> Response:
    """Keep a file of requests."""
    batches = await batches_of(http)
    files = batches.storage.files
    form = await _read_form(http, files.limits.max_file_bytes)
    try:
        file = _read_fields(form)
        size = file.size or 0
        if size > files.limits.max_file_bytes:
            raise _too_large(files.limits.max_file_bytes)
        name = (file.filename or "")[:_MAX_NAME]
        others, owner = batches.storage.results.num_bytes, caller_of(http).key_name
        try:
            stored = await asyncio.to_thread(
                files.add, file.file, size, name, int(time.time()), others, owner
            )
        except OSError as error:
            message = f"the file can't be kept: {error.strerror or error}; delete others"
            raise HttpError(507, message, "file", "storage_full") from error
    finally:
        await form.close()
    return JSONResponse(stored.to_json())


async def list_files(http: Request) -> Response:
    """The newest first, unless `order` says otherwise."""
    files = (await batches_of(http)).storage.files
    query = read_query(http, ("limit", "after", "order", "purpose"))
    limit = read_limit(query, _MAX_LISTED, _MAX_LISTED)
    order, purpose, after = query.get("order", "desc"), query.get("purpose"), query.get("after")
    if order not in ("asc", "desc"):
        raise HttpError(400, "order must be asc or desc", "order")
    if purpose is not None and purpose not in _PURPOSES:
        raise HttpError(400, f"purpose can only be {' or '.join(_PURPOSES)} here", "purpose")
    owner = caller_of(http).key_name
    found = await asyncio.to_thread(files.page, after, limit + 1, order == "desc", purpose, owner)
    if found is None:
        raise unknown_id("file", after or "", "after")
    return JSONResponse(page([file.to_json() for file in found], limit))


async def one_file(http: Request) -> Response:
    """Tell of a file, or delete it."""
    batches = await batches_of(http)
    read_query(http, ())
    stored = await _find(http, batches)
    if http.method != "DELETE":
        return JSONResponse(stored.to_json())
    user = await asyncio.to_thread(batches.storage.batches.user_of, stored.id)
    if user is not None:
        message = f"{stored.id} is the input of {user}, which has not ended; cancel that first"
        raise HttpError(409, message, "file_id", "file_in_use")
    await asyncio.to_thread(batches.storage.files.delete, stored.id)
    return JSONResponse({"id": stored.id, "object": "file", "deleted": True})


async def file_content(http: Request) -> Response:
    """The bytes of a file, to their end even if it is deleted meanwhile."""
    batches = await batches_of(http)
    read_query(http, ())
    stored = await _find(http, batches)
    try:
        file = await asyncio.to_thread(open, batches.storage.files.path(stored.id), "rb")
    except FileNotFoundError:
        raise unknown_id("file", stored.id, "file_id") from None
    headers = {"Content-Length": str(stored.bytes)}
    return StreamingResponse(_pieces(file), media_type="application/octet-stream", headers=headers)


async def _pieces(file: BinaryIO) -> AsyncGenerator[bytes]:
    with file:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece


async def _find(http: Request, batches: Batches) -> StoredFile:
    file_id = http.path_params["id"]
    stored = await asyncio.to_thread(batches.storage.files.get, file_id)
    if stored is None or stored.owner != caller_of(http).key_name:
        raise unknown_id("file", file_id, "file_id")
    return stored


async def _read_form(http: Request, max_file_bytes: int) -> FormData:
    kind, options = parse_options_header(http.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise HttpError(415, "the body must be multipart/form-data, with a file and a purpose")
    try:
        return await MultiPartParser(
            http.headers,
            body_chunks(http, max_file_bytes + _AROUND_FILE),
            max_files=1,
            max_fields=_MAX_FIELDS,
        ).parse()
    except MultiPartException as error:
        raise HttpError(400, f"the form can't be read: {error.message}") from error
    except OSError as error:
        message = f"the file can't be taken: {error.strerror or error}"
        raise HttpError(507, message, "file", "storage_full") from error


def _read_fields(form: FormData) -> UploadFile:
    """The file. Raises HttpError."""
    given: dict[str, str | UploadFile] = {}
    for raw_name, value in form.multi_items():
        name = shortened(raw_name)
        if name.startswith("expires_after"):
            message = f"{name} is not honoured here: files are kept until they are deleted"
            raise HttpError(400, message, name, "unsupported_parameter")
        if name not in _FIELDS:
            message = f"{name} is no field that is known here; known: {', '.join(_FIELDS)}"
            raise HttpError(400, message, name, "unknown_parameter")
        if name in given:
            raise HttpError(400, f"{name} is given twice", name)
        given[name] = value
    purpose, file = given.get("purpose"), given.get("file")
    if purpose != "batch":
        shown = "it is missing" if purpose is None else f"not {shortened(str(purpose))!r}"
        raise HttpError(400, f'purpose can only be "batch" here, {shown}', "purpose")
    if not isinstance(file, UploadFile):
        raise HttpError(400, "file must be a file, in JSON lines", "file")
    return file


def _too_large(most: int) -> HttpError:
    return HttpError(413, f"the file is larger than {most} bytes", "file")
