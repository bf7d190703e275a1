"""What came of a line, as a line of the output or of the file of errors."""

from __future__ import annotations

import uuid
from typing import NamedTuple, Protocol

import msgspec

from .batch_line import BatchLine
from .result_store import Record


class Answer(NamedTuple):
    """Of an endpoint. request_id: by which the log knows the request. body: in JSON. is_final:
    whether it says that sending the request again is in vain."""

    status: int
    request_id: str
    body: bytes
    is_final: bool = False


class Ask(Protocol):
    """Sends a body to an endpoint. owner: see Batch."""

    async def __call__(self, path: str, body: bytes, owner: str = "") -> Answer: ...


def answered(line: BatchLine, answer: Answer) -> Record:
    """An answer of status 200 belongs into the output, any other to the errors."""
    response = {
        "status_code": answer.status,
        "request_id": answer.request_id,
        "body": msgspec.Raw(answer.body),
    }
    return Record(line.number, answer.status != 200, _written(line, response, None))


def unanswered(line: BatchLine, code: str, message: str) -> Record:
    """Of a line that was not sent, or whose answer nobody waited for."""
    return Record(line.number, True, _written(line, None, {"code": code, "message": message}))


def error_code(answer: Answer) -> str | None:
    """That of an answer which tells of an error."""
    try:
        error = msgspec.json.decode(answer.body, type=dict[str, dict[str, object]])["error"]
    except (msgspec.DecodeError, KeyError):
        return None
    code = error.get("code")
    return code if isinstance(code, str) else None


def _written(line: BatchLine, response: object, error: object) -> bytes:
    return msgspec.json.encode(
        {
            "id": f"batch_req_{uuid.uuid4().hex}",
            "custom_id": line.custom_id,
            "response": response,
            "error": error,
        }
    )
