"""Tells clients apart, so that none makes others wait for all of its requests."""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple

from starlette.requests import Request

from ..tenants.account import UNLIMITED, Account
from ..tenants.key_ring import Holder
from .background import is_background

#: New in each process, so that what an identity was made of can't be found by trying.
_KEY = secrets.token_bytes(16)


class Caller(NamedTuple):
    """Who sent a request. client: a short name, of no other. weight: of its share of the engine.
    account: what it may take. cache_scope: see RequestOptions. key_name: of its API key, if the
    server has some. background: whether it is a line of a batch."""

    client: str
    weight: float = 1.0
    account: Account = UNLIMITED
    cache_scope: str = ""
    key_name: str = ""
    background: bool = False


def caller_of(http: Request) -> Caller:
    """The holder of an API key, if the server has some; else whoever `client_of` names."""
    holder: Holder | None = getattr(http.state, "key_holder", None)
    if holder is None:
        return Caller(client_of(http), background=is_background(http))
    return Caller(
        f"key {holder.name}",
        holder.entry.weight,
        http.state.account,
        holder.cache_scope,
        holder.name,
        is_background(http),
    )


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
