"""POST /v1/captions: pictures in a form, one caption each, as `curl -F image=@dog.png` sends them.

Not part of OpenAI's API.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...core.engine.errors import RequestError
from ...core.engine.image_views import ImageInput
from ...core.engine.input_processor import RequestOptions
from ...core.engine.sampling_params import SamplingParams
from ...core.engine.together import together
from .. import DEFAULT_PROMPT
from .chat_response import usage
from .clients import last_of, unless_gone
from .errors import HttpError
from .pipeline import Chat, generate
from .state import ServerState

_MAX_TOKENS = 64
_FIELDS = {"prompt": str, "max_tokens": int, "temperature": float, "seed": int}


async def captions(http: Request) -> Response:
    """Caption the pictures of a multipart form: fields `image`, and perhaps `prompt`,
    `max_tokens`, `temperature` and `seed`."""
    server: ServerState = http.app.state.server
    arrival = time.monotonic()
    form = await _read_form(http, server)
    files = [file for file in form.getlist("image") if isinstance(file, UploadFile)]
    if not files:
        raise HttpError(400, "the form needs a file named image", "image")
    fields = _read_fields(form)
    prompt = fields.pop("prompt", DEFAULT_PROMPT)
    params = SamplingParams(
        **{**server.inputs.default_sampling, "max_tokens": _MAX_TOKENS, **fields}
    )
    images = [await _read_image(server, file, i) for i, file in enumerate(files)]
    chats = [_chat(prompt, image, params, arrival) for image in images]
    answers = await unless_gone(http, together(last_of(generate(server, c)) for c in chats))
    data = [
        {
            "index": i,
            "filename": file.filename,
            "caption": answer.outputs[0].text,
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
    if int(length) > server.max_body_bytes:
        raise HttpError(413, f"the body is larger than {server.max_body_bytes} bytes")
    kind, options = parse_options_header(http.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise HttpError(415, "the body must be multipart/form-data, with a file named image")
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise HttpError(415, "the form must be written in UTF-8")
    try:
        return await http.form(max_files=server.config.max_images_per_prompt)
    except HTTPException as error:
        raise HttpError(400, f"the form can't be read: {error.detail}") from error


def _read_fields(form: FormData) -> dict[str, Any]:
    """Raises RequestError for a field of another kind."""
    fields: dict[str, Any] = {}
    for name, kind in _FIELDS.items():
        value = form.get(name)
        if isinstance(value, str):
            try:
                fields[name] = kind(value)
            except ValueError as error:
                raise RequestError(f"{name} must be a number, not {value!r}", name) from error
    return fields


async def _read_image(server: ServerState, file: UploadFile, index: int) -> ImageInput:
    return await server.intake.read_file(await file.read(), f"image[{index}]")


def _chat(prompt: str, image: ImageInput, params: SamplingParams, arrival: float) -> Chat:
    content = [{"type": "image"}, {"type": "text", "text": prompt}]
    return Chat(
        f"caption-{uuid.uuid4().hex}",
        [{"role": "user", "content": content}],
        [image],
        params,
        RequestOptions(arrival=arrival),
    )
