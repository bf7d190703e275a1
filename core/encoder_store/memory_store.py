"""A store within this process: for one replica, for tests, and before a slower store."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from urllib.parse import parse_qs, urlsplit

from .store import StoreError, StoreRefusedError


@dataclass(frozen=True)
class _Item:
    value: bytes
    expires: float


@dataclass(frozen=True)
class _Lease:
    owner: str
    expires: float


def open_memory_store(url: str) -> MemoryStore:
    """The store of memory://?max_bytes=N. Raises ValueError."""
    parts = urlsplit(url)
    (given,) = parse_qs(parts.query).get("max_bytes", [""])[-1:]
    if parts.netloc or parts.path or not given.isdecimal() or int(given) < 1:
        raise ValueError(f"expected a URL such as memory://?max_bytes=1073741824, got {url!r}")
    return MemoryStore(int(given))


class MemoryStore:
    """An EncoderStore that lets the least recently used values go to stay within a budget.

    max_bytes: of the values together; a larger one is refused.
    clock: seconds, as time.monotonic.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._items: OrderedDict[str, _Item] = OrderedDict()
        self._leases: dict[str, _Lease] = {}
        self._bytes = 0
        self._closed = False

    def get(self, key: str) -> bytes | None:
        """See EncoderStore."""
        with self._lock:
            self._check_open()
            item = self._items.get(key)
            if item is None:
                return None
            if item.expires <= self._clock():
                self._forget(key)
                return None
            self._items.move_to_end(key)
            return item.value

    def set(self, key: str, value: bytes, ttl_seconds: float | None) -> None:
        """See EncoderStore. Raises StoreRefusedError for a value beyond the budget."""
        if len(value) > self._max_bytes:
            raise StoreRefusedError(
                f"a value of {len(value)} bytes is more than the store's {self._max_bytes}"
            )
        expires = inf if ttl_seconds is None else self._clock() + ttl_seconds
        with self._lock:
            self._check_open()
            self._forget(key)
            self._items[key] = _Item(value, expires)
            self._bytes += len(value)
            self._leases.pop(key, None)
            while self._bytes > self._max_bytes:
                self._forget(next(iter(self._items)))

    def delete(self, key: str) -> None:
        """See EncoderStore."""
        with self._lock:
            self._check_open()
            self._forget(key)

    def lease(self, key: str, owner: str, seconds: float) -> bool:
        """See EncoderStore."""
        now = self._clock()
        with self._lock:
            self._check_open()
            self._leases = {k: held for k, held in self._leases.items() if held.expires > now}
            held = self._leases.get(key)
            if held is not None and held.owner != owner:
                return False
            self._leases[key] = _Lease(owner, now + seconds)
            return True

    def release(self, key: str, owner: str) -> None:
        """See EncoderStore."""
        with self._lock:
            self._check_open()
            held = self._leases.get(key)
            if held is not None and held.owner == owner:
                del self._leases[key]

    def close(self) -> None:
        """See EncoderStore. All values are forgotten."""
        with self._lock:
            self._closed = True
            self._items.clear()
            self._leases.clear()
            self._bytes = 0

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    def _forget(self, key: str) -> None:
        item = self._items.pop(key, None)
        if item is not None:
            self._bytes -= len(item.value)
