"""Where servers are, and the key to them, which the environment has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from ....core.protocol.errors import RequestError

#: Where the key is, of which the first that is set is taken.
_KEYS = ("OCTAVO_WORKERS_API_KEY", "OPENAI_API_KEY")


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
