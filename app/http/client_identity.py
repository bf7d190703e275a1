"""Tells clients apart, so that none makes others wait for all of its requests."""

from __future__ import annotations

import hashlib
import secrets

from starlette.requests import Request

#: New in each process, so that what an identity was made of can't be found by trying.
_KEY = secrets.token_bytes(16)


def client_of(http: Request) -> str:
    """A short name of who sent a request: of the Authorization header if there is one, else of
    the connection's address. The header itself is not in it."""
    authorization = http.headers.get("authorization")
    if authorization:
        sender = f"authorization {authorization}"
    else:
        sender = f"address {http.client.host if http.client else ''}"
    return hashlib.blake2b(sender.encode(), digest_size=8, key=_KEY).hexdigest()
