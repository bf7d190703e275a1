"""What a server is asked before it is asked about pictures: its models, and whether it answers."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import msgspec

from ....core.protocol.errors import RequestError
from .chat_answers import TroubleError, check_endpoint, message_of, retry_after, trouble_of

#: Seconds.
_TIMEOUT = 10.0


class _Model(msgspec.Struct):
    id: str
    owned_by: str | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


async def ask_models(client: httpx.AsyncClient, url: str) -> Mapping[str, str] | None:
    """The owners of the models that a server has, by the models' names; None if it has no list.

    Raises TroubleError, or RequestError if it refuses the key, or is no such server.
    """
    try:
        response = await client.get(f"{url}/models", timeout=_TIMEOUT)
    except httpx.HTTPError as error:
        raise trouble_of(error) from error
    status = response.status_code
    if status == 404:
        return None
    if status >= 500 or status == 429:
        wait = retry_after(response.headers.get("Retry-After"))
        raise TroubleError(message_of(response) or f"status {status}", retry_after=wait)
    check_endpoint(url, response)
    try:
        models = msgspec.json.decode(response.content, type=_Models).data
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RequestError(
            f"{url}/models gives no list of models; does the address lack something, such as /v1 "
            "at its end?"
        ) from error
    return {model.id: model.owned_by or "" for model in models}


async def check_answers(client: httpx.AsyncClient, url: str, model: str) -> None:
    """Ask for nothing, which costs nothing. Raises RequestError if it would answer nothing else
    either, for want of a page, a key or the model."""
    body = {"model": model, "messages": [], "max_tokens": 1}
    try:
        response = await client.post(f"{url}/chat/completions", json=body, timeout=_TIMEOUT)
    except httpx.HTTPError:
        return  # what breaks now is met again, and dealt with, when there is a question
    check_endpoint(url, response)
