"""What a server's refusals mean, in one line that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from .backend import ChatError

#: Characters of what a server says that are shown.
_MOST = 500


def unreachable(url: str, error: httpx.HTTPError) -> ChatError:
    """For a connection that failed or broke."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        reason = str(error) or "no answer"
        return ChatError(f"{url} can't be reached ({reason}); does a server run there?")
    return ChatError(f"{url}: the connection broke: {error or type(error).__name__}")


def refusal(url: str, response: httpx.Response) -> ChatError:
    """For a status that is no success, with the body read."""
    status, said = response.status_code, _message(response)
    hint = ""
    if status in (401, 403):
        hint = "; give the right key by --api-key or OPENAI_API_KEY"
    elif status == 404 and not url.endswith("/v1"):
        hint = "; most servers' addresses end in /v1"
    elif status in (429, 503):
        wait = response.headers.get("Retry-After")
        hint = f"; ask again in {wait} s" if wait else "; ask again in a while"
    meaning = {401: "no permission", 403: "no permission", 503: "not ready"}.get(status, "refused")
    return ChatError(f"{url}: {meaning} ({status}){': ' if said else ''}{said}{hint}")


def message_of(error: Any) -> str:
    """What an error's object or text says, on one line; "" if it has no known form."""
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("detail")
    return " ".join(error.split())[:_MOST].rstrip(".") if isinstance(error, str) else ""


def _message(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return ""
    return message_of(body.get("error", body) if isinstance(body, Mapping) else None)
