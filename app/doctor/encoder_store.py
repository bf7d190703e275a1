"""The doctor on a store of features that the settings name."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from ...core.encoder_store.open_store import open_store
from ...core.encoder_store.redis_url import without_password
from ...core.encoder_store.store import StoreError
from ...core.registry.registry import get_registry
from .finding import Remark

_TTL_SECONDS = 10.0


def look_at_store(url: str) -> Iterator[Remark]:
    """Whether what is written there comes back. Raises ConfigError for a URL of no store."""
    store = open_store(url, get_registry().encoder_stores)
    key, value = f"doctor:{secrets.token_hex(8)}", secrets.token_bytes(64)
    try:
        store.set(key, value, _TTL_SECONDS)
        comes_back = store.get(key) == value
        store.delete(key)
    except StoreError as error:
        yield "FAIL", f"{error}; a server would go on without it, and encode every image anew"
        return
    finally:
        store.close()
    if comes_back:
        yield "ok", f"{without_password(url)} keeps what is written"
    else:
        yield "FAIL", f"{without_password(url)} takes what is written and does not give it back"
