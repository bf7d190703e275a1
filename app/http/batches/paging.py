"""Query parameters, and pages of lists, as OpenAI's API has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from ..errors import HttpError
from ..field_table import shortened


def read_query(http: Request, known: Sequence[str]) -> dict[str, str]:
    """Raises HttpError for a parameter that is not known, or given twice."""
    given: dict[str, str] = {}
    for name, value in http.query_params.multi_items():
        param = shortened(name)
        if name not in known:
            words = f"; known: {', '.join(known)}" if known else ""
            message = f"{param} is not honoured here{words}"
            raise HttpError(400, message, param, "unknown_parameter")
        if name in given:
            raise HttpError(400, f"{param} is given twice", param)
        given[name] = value
    return given


def read_limit(query: dict[str, str], default: int, most: int) -> int:
    """Raises HttpError for what is none."""
    text = query.get("limit", str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and 1 <= int(text) <= most):
        raise HttpError(400, f"limit must be a number from 1 to {most}", "limit")
    return int(text)


def page(found: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """found: one more than `limit`, if there are more."""
    data = found[:limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(found) > limit,
    }


def unknown_id(kind: str, given: str, param: str) -> HttpError:
    """The error that tells of a file or a batch which is not there."""
    return HttpError(404, f"no {kind} {given[:100]!r} is kept here", param, "not_found")
