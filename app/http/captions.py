"""POST /v1/captions: pictures in a form, one caption each, as `curl -F image=@dog.png` sends them.

Not part of OpenAI's API.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...core.process.together import together
from ...core.prompts.input_processor import RequestOptions
from ...core.prompts.responses.answer_reader import reader_of_thoughts
from ...core.prompts.sized_image import SizedImage
from ...core.protocol.sampling_params import SamplingParams
from .. import DEFAULT_PROMPT
from ..serving.chat_pipeline import Chat, generate
from ..serving.server_state import ServerState
from ..tenants.account import Account
from .client_identity import caller_of
from .clients import last_of, unless_gone
from .errors import HttpError
from .field_table import shortened
from .json_body import check_model
from .request_body import body_chunks
from .request_ids import answer_id
from .usage import usage

_MAX_TOKENS = 64
_MAX_FIELDS = 100


def _read_int(text: str) -> int:
    """Also of 2.0. Raises ValueError."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)


#: How each field but `image` is read; there are no others.
FIELDS: dict[str, Callable[[str], Any]] = {
    "model": str,
    "prompt": str,
    "max_tokens": _read_int,
    "temperature": float,
    "seed": _read_int,
}


async def captions(http: Request) -> Response:
    """Caption the pictures of a multipart form: files `image`, and perhaps fields `prompt`,
    `max_tokens`, `temperature`, `seed` and `model`."""
    server: ServerState = http.app.state.server
    arrival = time.monotonic()
    form = await _read_form(http, server)
    files, fields = _read_fields(form)
    check_model(fields.pop("model", None), server.model_name)
    prompt = fields.pop("prompt", DEFAULT_PROMPT)
    reader = reader_of_thoughts(server.answers)
    params = SamplingParams(
        **{**server.inputs.default_sampling, "max_tokens": _MAX_TOKENS, **fields},
        skip_special_tokens=reader is None,
    )
    caller = caller_of(http)
    options = RequestOptions(
        arrival=arrival,
        client=caller.client,
        weight=caller.weight,
        cache_scope=caller.cache_scope,
    )
    images = [
        await _read_image(server, file, i, caller.cache_scope) for i, file in enumerate(files)
    ]
    name = answer_id(http, "caption")
    chats = [
        _chat(f"{name}-{i}", prompt, image, params, options, caller.account)
        for i, image in enumerate(images)
    ]
    answers = await unless_gone(http, together(last_of(generate(server, c)) for c in chats))
    data = [
        {
            "index": i,
            "filename": _text(file.filename or "", errors="replace"),
            # Thoughts are no caption.
            "caption": reader.content(answer) if reader else answer.outputs[0].text,
            "finish_reason": answer.outputs[0].finish_reason,
            "usage": usage(answer),
        }
        for i, (file, answer) in enumerate(zip(files, answers, strict=True))
    ]
    return JSONResponse({"object": "list", "model": server.model_name, "data": data})


async def _read_form(http: Request, server: ServerState) -> FormData:
    if "transfer-encoding" in http.headers:
        raise HttpError(411, "the form must come whole, not with a Transfer-Encoding")
    length = http.headers.get("content-length", "")
    if not length.isdigit():
        raise HttpError(411, "the form must come with its Content-Length")
    kind, options = parse_options_header(http.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise HttpError(415, "the body must be multipart/form-data, with a file named image")
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise HttpError(415, "the form must be written in UTF-8")
    boundary = options.get(b"boundary", b"").decode("latin-1")
    # Texts of bytes, which the parser would guess at where they are no UTF-8.
    as_bytes = f'multipart/form-data; boundary="{boundary}"; charset=latin-1'
    try:
        return await MultiPartParser(
            Headers({"Content-Type": as_bytes}),
            body_chunks(http, server.max_body_bytes),
            max_files=server.config.max_images_per_prompt,
            max_fields=_MAX_FIELDS,
        ).parse()
    except MultiPartException as error:
        raise HttpError(400, f"the form can't be read: {error.message}") from error


def _read_fields(form: FormData) -> tuple[list[UploadFile], dict[str, Any]]:
    """The pictures, and the other fields. Raises HttpError for one that is unknown, given twice,
    or of another kind."""
    files: list[UploadFile] = []
    fields: dict[str, Any] = {}
    for raw_name, value in form.multi_items():
        name = shortened(_text(raw_name, errors="replace"))
        if name == "image":
            if not isinstance(value, UploadFile):
                raise HttpError(400, "image must be a file (curl: -F image=@dog.png)", name)
            files.append(value)
        elif name not in FIELDS:
            known = ", ".join(("image", *FIELDS))
            message = f"{name} is no field that is known here; known: {known}"
            raise HttpError(400, message, name, "unknown_parameter")
        elif isinstance(value, UploadFile):
            raise HttpError(400, f"{name} must be a text, not a file", name)
        elif name in fields:
            raise HttpError(400, f"{name} is given twice", name)
        else:
            fields[name] = _read_field(name, value)
    if not files:
        raise HttpError(400, "the form needs a file named image", "image")
    return files, fields


def _read_field(name: str, value: str) -> Any:
    try:
        text = _text(value)
    except UnicodeDecodeError as error:
        raise HttpError(400, f"{name} is not written in UTF-8: {error.reason}", name) from error
    try:
        return FIELDS[name](text)
    except (ValueError, OverflowError) as error:
        raise HttpError(400, f"{name} must be a number, not {shortened(text)!r}", name) from error


def _text(as_bytes: str, errors: str = "strict") -> str:
    """The text whose bytes in UTF-8 these are. Raises UnicodeDecodeError."""
    return as_bytes.encode("latin-1").decode(errors=errors)


async def _read_image(
    server: ServerState, file: UploadFile, index: int, cache_scope: str
) -> SizedImage:
    return await server.intake.read_file(await file.read(), f"image[{index}]", cache_scope)


def _chat(
    request_id: str,
    prompt: str,
    image: SizedImage,
    params: SamplingParams,
    options: RequestOptions,
    account: Account,
) -> Chat:
    content = [{"type": "image"}, {"type": "text", "text": prompt}]
    return Chat(
        request_id,
        [{"role": "user", "content": content}],
        [image],
        params,
        options,
        account=account,
    )
