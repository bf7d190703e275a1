"""What a server says to a request for a chat completion, and what is to be done about it."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from ....core.protocol.errors import RequestError
from ..task import Answer

#: Statuses about the server, its address or the key, whatever is asked.
_ENDPOINT = {
    401: "no permission; give the right key by OCTAVO_WORKERS_API_KEY or OPENAI_API_KEY",
    402: "no permission",
    403: "no permission; give the right key by OCTAVO_WORKERS_API_KEY or OPENAI_API_KEY",
    404: "it has no such page or model; does the address lack something, such as /v1 at its end?",
    405: "it has no such page; does the address lack something, such as /v1 at its end?",
}
#: Statuses of a server that has too much to do, or isn't ready.
_BUSY = (429, 503)
#: Statuses of a proxy whose server is away.
_GATEWAY = (502, 504)
#: Statuses below 500 that say nothing about what was asked.
_PASSING = (408, 409, 425)
#: Characters of what a server says that are shown.
_MOST = 500


@dataclass(eq=False)
class TroubleError(Exception):
    """A request that may go well later, or elsewhere.

    is_away: the server, for now. is_suspect: what was asked may be what breaks the server.
    retry_after: seconds, if the server says so.
    """

    reason: str
    is_away: bool = False
    is_suspect: bool = False
    retry_after: float | None = None

    def __str__(self) -> str:
        return self.reason


class RefusalError(Exception):
    """What is asked is at fault."""


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


def trouble_of(error: httpx.HTTPError) -> TroubleError:
    """Of a connection that failed or broke."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return TroubleError(f"it can't be reached ({reason})", is_away=True)
    if isinstance(error, httpx.TimeoutException):
        return TroubleError("it took too long", is_suspect=True)
    return TroubleError(f"the connection broke: {reason}", is_away=True, is_suspect=True)


def check_endpoint(url: str, response: httpx.Response) -> None:
    """Raises RequestError for a status that any request would get."""
    status = response.status_code
    if status in _ENDPOINT or 300 <= status < 400:
        what = _ENDPOINT.get(status)
        if what is None:
            what = f"it has moved to {response.headers.get('Location')}; name that address"
        said = message_of(response)
        raise RequestError(f"{url}: {what} (status {status}{f': {said}' if said else ''})")


def read_answer(url: str, response: httpx.Response) -> Answer:
    """Raises TroubleError, RefusalError, or RequestError for what ends the job."""
    status = response.status_code
    said = message_of(response) or f"{url}: status {status}"
    if status != 403:  # at first it's about the key; later of a filter that judges pictures
        check_endpoint(url, response)
    if status == 200:
        return _read(response.content)
    if status in _BUSY:
        wait = retry_after(response.headers.get("Retry-After"))
        raise TroubleError(said, is_suspect=_has_died(response), retry_after=wait)
    if status >= 500 or status in _PASSING:
        raise TroubleError(said, is_away=status in _GATEWAY, is_suspect=True)
    raise RefusalError(said)


def retry_after(header: str | None) -> float | None:
    """What a Retry-After header asks for: seconds, or a date."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def message_of(response: httpx.Response) -> str:
    """What an error's body says, on one line; "" if it has no known form. Without the place in
    the messages that is at fault: a row is about one picture."""
    error = _error_of(response)
    message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    if not isinstance(message, str):
        return ""
    place = error.get("param") if isinstance(error, dict) else None
    if place and message.startswith(f"{place}: "):
        message = message.removeprefix(f"{place}: ")
    return " ".join(message.split())[:_MOST]


def _error_of(response: httpx.Response) -> Any:
    try:
        body = response.json()
    except ValueError:
        return None
    return body.get("error", body) if isinstance(body, dict) else None


def _has_died(response: httpx.Response) -> bool:
    error = _error_of(response)
    return isinstance(error, dict) and error.get("code") == "engine_dead"


def _read(body: bytes) -> Answer:
    try:
        completion = msgspec.json.decode(body, type=_Completion)
        choice = completion.choices[0]
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError) as error:
        raise TroubleError(
            f"what it sent is no chat completion: {error}", is_suspect=True
        ) from error
    message, usage = choice.message, completion.usage or _Usage()
    if choice.finish_reason not in ("stop", "length"):
        if choice.finish_reason == "content_filter" or message.refusal:
            raise RefusalError(message.refusal or "the server's filter withheld the answer")
        raise TroubleError(f"the answer ended by {choice.finish_reason!r}", is_suspect=True)
    if message.content is None and message.refusal:
        raise RefusalError(message.refusal)
    return Answer(
        message.content or "", choice.finish_reason, usage.prompt_tokens, usage.completion_tokens
    )
