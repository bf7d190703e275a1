"""Reading the JSON body of a request."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from ..serving.nesting import MAX_NESTING, is_nested_too_deep
from .errors import HttpError
from .field_table import FieldTable
from .request_body import read_body

Body = TypeVar("Body", bound=msgspec.Struct)


async def read_fields(http: Request, table: FieldTable[Body], max_bytes: int) -> Body:
    """Raises HttpError for a body that is too large, no JSON object, nested too deep, or has a
    field that is not known, not honoured or of another type."""
    return table.read(_decode(await read_body(http, max_bytes)))


def _decode(data: bytes) -> dict[str, Any]:
    try:
        given = msgspec.json.decode(data)
        too_deep = is_nested_too_deep(data)
    except RecursionError:
        too_deep = True
    except UnicodeDecodeError as error:
        raise HttpError(400, f"the body is not written in UTF-8: {error.reason}") from error
    except msgspec.ValidationError as error:  # a number that no Python int is made of
        raise HttpError(400, f"the body has a number that is too large: {error}") from error
    except msgspec.DecodeError as error:
        raise HttpError(400, f"the body is not valid JSON: {error}") from error
    if too_deep:
        raise HttpError(400, f"the body is nested more than {MAX_NESTING} levels deep")
    if not isinstance(given, dict):
        raise HttpError(400, "the body must be a JSON object")
    return given


def check_model(name: str | None, served: str) -> None:
    """Raises HttpError for the name of a model that is not served."""
    if name not in (None, served):
        raise HttpError(
            404,
            f"model {name!r} is not served here; served: {served!r}",
            "model",
            "model_not_found",
        )
