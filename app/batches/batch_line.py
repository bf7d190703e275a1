"""One line of a batch's input: a request, and what can be wrong with it before it is sent."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

from .batch_store import LineError

_FIELDS = ("custom_id", "method", "url", "body")
_MAX_SHOWN = 64


class BatchLine(NamedTuple):
    """number: of the line, from 1. url: an endpoint. body: in JSON."""

    number: int
    custom_id: str
    url: str
    body: bytes


class InvalidLineError(Exception):
    """A line that can't be sent."""

    def __init__(self, code: str, message: str, number: int, param: str | None = None) -> None:
        super().__init__(message)
        self.told = LineError(code, message, number, param)


def read_line(data: bytes, number: int, urls: Collection[str], model: str) -> BatchLine:
    """urls: of which it may name one. model: the one that is served. Raises InvalidLineError."""

    def wrong(code: str, message: str, param: str | None = None) -> InvalidLineError:
        return InvalidLineError(code, message, number, param)

    try:
        given = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise wrong("invalid_json_line", f"the line is no JSON object: {error}") from error
    for name in given:
        if name not in _FIELDS:
            shown = name[:_MAX_SHOWN]
            message = f"{shown} is no field of a line; there are {', '.join(_FIELDS)}"
            raise wrong("unknown_parameter", message, shown)
    for name in _FIELDS:
        if name not in given:
            raise wrong("missing_required_parameter", f"{name} is missing", name)
    custom_id = _text(given["custom_id"])
    if not custom_id:
        raise wrong("invalid_custom_id", "custom_id must be a text that is not empty", "custom_id")
    if _text(given["method"]) != "POST":
        raise wrong("invalid_method", 'method can only be "POST"', "method")
    url = _text(given["url"])
    if url is None or url not in urls:
        raise wrong("invalid_url", f"url can only be {' or '.join(urls)} here", "url")
    body = given["body"]
    _check_body(bytes(body), model, wrong)
    return BatchLine(number, custom_id, url, bytes(body))


def _check_body(body: bytes, model: str, wrong: Any) -> None:
    """What the endpoint refuses is told of in the file of errors; this, before any line is sent."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise wrong("invalid_body", f"body is no JSON object: {error}", "body") from error
    if bytes(fields.get("stream", b"false")) not in (b"false", b"null"):
        message = "body.stream can only be false here: answers of a batch come in a file"
        raise wrong("unsupported_value", message, "body.stream")
    asked = fields.get("model")
    if asked is not None and bytes(asked) != b"null" and _text(asked) != model:
        shown = bytes(asked)[:_MAX_SHOWN].decode(errors="replace")
        message = f"body.model: {shown} is not served here; served: {model!r}"
        raise wrong("model_not_found", message, "body.model")


def _text(raw: msgspec.Raw) -> str | None:
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
