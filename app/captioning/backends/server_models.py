"""What a server is asked before it is asked about pictures: its models, and whether it answers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import httpx
import msgspec

from ....core.protocol.errors import RequestError
from .chat_answers import TroubleError, check_endpoint, message_of, seconds_of, trouble_of

#: Where the key is, of which the first that is set is taken.
_KEYS = ("OCTAVO_WORKERS_API_KEY", "OPENAI_API_KEY")
#: Seconds.
_TIMEOUT = 10.0


class _Model(msgspec.Struct):
    id: str
    owned_by: str | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


def base_urls(addresses: Sequence[str]) -> list[str]:
    """To which /chat/completions is added: an address without a path gets /v1. Raises RequestError
    for what is no address, or is named twice."""
    if not addresses:
        raise RequestError("--workers: name at least one server, such as http://host:8000")
    urls = [_base_url(address) for address in addresses]
    for url in urls:
        if urls.count(url) > 1:
            raise RequestError(f"--workers: {url} is named twice")
    return urls


def key_headers() -> dict[str, str]:
    """With the key that the environment has, if any. Raises RequestError."""
    for name in _KEYS:
        key = os.environ.get(name, "").strip()
        if key and not (key.isascii() and key.isprintable()):
            raise RequestError(f"{name} holds what can't be a key: a line break, say")
        if key:
            return {"Authorization": f"Bearer {key}"}
    return {}


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
        wait = seconds_of(response.headers.get("Retry-After"))
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


def _base_url(address: str) -> str:
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise RequestError(f"--workers: {address!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise RequestError(f"--workers: {address!r} must begin with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise RequestError(
            f"--workers: the address of {host} has a password, which others would see; give a key "
            f"by {_KEYS[0]}"
        )
    if parts.query or parts.fragment:
        raise RequestError(f"--workers: {address!r} must end with a path, such as /v1")
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"
