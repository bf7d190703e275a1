"""Reading the JSON body of a request."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from starlette.requests import Request

from .errors import HttpError

Body = TypeVar("Body")


async def read_json(http: Request, decoder: msgspec.json.Decoder[Body], max_bytes: int) -> Body:
    """Raises HttpError for a body that is too large, no JSON, or has a field of another type."""
    data = bytearray()
    async for chunk in http.stream():
        data += chunk
        if len(data) > max_bytes:
            raise HttpError(413, f"the body is larger than {max_bytes} bytes")
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        path = str(error).partition(" - at `$")[2]
        raise HttpError(400, str(error), path.strip(".`") or None) from error
    except msgspec.DecodeError as error:
        raise HttpError(400, f"the body is not valid JSON: {error}") from error


def check_model(name: str | None, served: str) -> None:
    """Raises HttpError for the name of a model that is not served."""
    if name not in (None, served):
        raise HttpError(
            404,
            f"model {name!r} is not served here; served: {served!r}",
            "model",
            "model_not_found",
        )
