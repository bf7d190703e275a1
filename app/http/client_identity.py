"""Tells clients apart, so that none makes others wait for all of its requests."""

from __future__ import annotations

import hashlib
import secrets

from starlette.requests import Request

#: New in each process, so that what an identity was made of can't be found by trying.
_KEY = secrets.token_bytes(16)


def client_of(http: Request) -> str:
    """A short name of who sent a request: of the Authorization header if there is one, or of
    X-Api-Key, else of the connection's address. The header itself is not in it."""
    authorization = http.headers.get("authorization")
    api_key = http.headers.get("x-api-key")
    if authorization:
        sender = f"authorization {authorization}"
    elif api_key:
        # The same key is the same client by either API.
        sender = f"authorization Bearer {api_key}"
    else:
        sender = f"address {http.client.host if http.client else ''}"
    return hashlib.blake2b(sender.encode(), digest_size=8, key=_KEY).hexdigest()
