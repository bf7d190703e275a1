"""A store as the engine uses it: features in and out, and never an error."""

from __future__ import annotations

import logging
import threading
import time
from asyncio import CancelledError
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from ..protocol.config import ConfigError
from .breaker import CircuitBreaker
from .codec import INSTALL_ZSTANDARD, BadEntryError, can_compress, decode_entry, encode_entry
from .features import Features
from .store import EncoderStore, StoreRefusedError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
#: Threads of a process that look features up, each in a call of the store that waits.
NUM_STORE_THREADS = 16
#: What a plugin's store may raise: whatever it likes, in a thread that others wait for.
_ANYTHING = (Exception, SystemExit, CancelledError)


@dataclass(frozen=True, kw_only=True)
class TierSettings:
    """How a tier keeps features. Raises ConfigError for a value that can't work.

    ttl_seconds: how long a value may be kept; None leaves it to the store.
    max_item_bytes: of an image's features; larger ones are neither written nor read.
    lease_seconds: how long one owner may compute before others do, too.
    compress: with Zstandard; saves a quarter in bfloat16 and less in the other dtypes.
    secret: signs what is written, so that what others write is not read.
    """

    ttl_seconds: float | None = 7 * 24 * 3600.0
    max_item_bytes: int = 64 * 2**20
    lease_seconds: float = 3.0
    compress: bool = False
    secret: bytes | None = None

    def __post_init__(self) -> None:
        for name in ("ttl_seconds", "max_item_bytes", "lease_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} of an encoder store must be above 0, got {value}")
        if self.secret is not None and not self.secret:
            raise ConfigError("the secret of an encoder store is empty; leave it out or fill it")
        if self.compress and not can_compress():
            raise ConfigError(f"to compress in an encoder store, {INSTALL_ZSTANDARD}")


@dataclass
class TierStats:
    """Counters since the tier was made, and the state of its breaker.

    misses: gets that gave nothing, whatever the reason.
    errors: operations that the store failed or refused; none while the breaker is open.
    corrupt: entries that were found and could not be trusted or read.
    oversized: features that were not written since they are beyond max_item_bytes.
    bytes_read, bytes_written: of entries, as stored.
    """

    hits: int = 0
    misses: int = 0
    errors: int = 0
    corrupt: int = 0
    oversized: int = 0
    writes: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    breaker_open: bool = False


class StoreTier:
    """Features in a store. What the store does wrong is logged, counted and a miss at worst.

    name: of the store, in the log.
    observe: is told the name of each operation that reached the store, and its seconds.
    """

    def __init__(
        self,
        name: str,
        store: EncoderStore,
        settings: TierSettings,
        observe: Callable[[str, float], None] | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self.name = name
        self._store = store
        self._settings = settings
        self._observe = observe
        self._breaker = breaker or CircuitBreaker()
        self._lock = threading.Lock()
        self._stats = TierStats()
        self._complaints: set[str] = set()

    @property
    def stats(self) -> TierStats:
        """The counters now."""
        with self._lock:
            return replace(self._stats, breaker_open=self._breaker.is_open)

    def get(self, key: str) -> Features | None:
        """The features of a key, if they are there and can be trusted. A bad entry is deleted."""
        # Of a plugin's store, which may return anything.
        data: object = self._run("get", lambda: self._store.get(key), None)
        features = None if data is None else self._unpack(key, data)
        if features is None:
            self._count(misses=1)
        return features

    def put(self, key: str, features: Features) -> bool:
        """Write features, which ends the key's lease. Returns whether they are there now."""
        settings = self._settings
        if features.nbytes > settings.max_item_bytes:
            self._count(oversized=1)
            self._complain(
                "oversized",
                f"doesn't keep features of {features.nbytes} bytes: "
                f"max_item_bytes is {settings.max_item_bytes}",
            )
            return False
        data = encode_entry(features, key, compress=settings.compress, secret=settings.secret)

        def write() -> bool:
            self._store.set(key, data, settings.ttl_seconds)
            return True

        written = self._run("set", write, False)
        if written:
            self._count(writes=1, bytes_written=len(data))
        return written

    def reject(self, key: str, reason: str) -> None:
        """Delete an entry that could be read and is not what it should be."""
        self._reject(key, reason, "unfit")

    def lease(self, key: str, owner: str) -> bool:
        """Whether this owner is to compute a key. If the store fails, everyone is."""
        seconds = self._settings.lease_seconds
        granted: object = self._run("lease", lambda: self._store.lease(key, owner, seconds), True)
        if isinstance(granted, int):  # True and False are
            return bool(granted)
        self._count(errors=1)
        self._complain("nonsense", f"answered a lease with {_kind(granted)}, not True or False")
        return True

    def release(self, key: str, owner: str) -> None:
        """Let an owner's lease go, so that others need not wait until it expires."""
        self._run("release", lambda: self._store.release(key, owner), None)

    def close(self) -> None:
        """Close the store."""
        try:
            self._store.close()
        except _ANYTHING as error:
            logger.warning("encoder store %s could not be closed: %r", self.name, error)

    def _unpack(self, key: str, given: object) -> Features | None:
        settings = self._settings
        if not isinstance(given, bytes | bytearray):
            self._reject(key, f"{_kind(given)} where bytes belong", "corrupt")
            return None
        data = bytes(given)  # which nobody changes any more
        try:
            features = decode_entry(
                data, key, secret=settings.secret, max_bytes=settings.max_item_bytes
            )
        except BadEntryError as error:
            self._count(bytes_read=len(data))
            self._reject(key, str(error), "corrupt")
            return None
        self._count(hits=1, bytes_read=len(data))
        self._complaints.discard("corrupt")
        return features

    def _reject(self, key: str, reason: str, about: str) -> None:
        self._count(corrupt=1)
        self._complain(about, f"held a bad entry, now deleted: {reason}")
        self._run("delete", lambda: self._store.delete(key), None)

    def _run(self, operation: str, call: Callable[[], Result], otherwise: Result) -> Result:
        """What the store says, or `otherwise` if it fails or isn't asked."""
        if not self._breaker.allow():
            return otherwise
        start = time.perf_counter()
        try:
            result = call()
        except StoreRefusedError as error:  # it is up, or it could not have said so
            self._count(errors=1)
            self._complain(operation, f"refuses to {operation}: {error}")
            self._works()
            return otherwise
        except _ANYTHING as error:
            self._count(errors=1)
            if self._breaker.failure():
                logger.warning(
                    "encoder store %s fails and is left alone for a while: %s", self.name, error
                )
            return otherwise
        finally:
            if self._observe is not None:
                self._observe(operation, time.perf_counter() - start)
        self._complaints.discard(operation)
        self._works()
        return result

    def _works(self) -> None:
        if self._breaker.success():
            logger.warning("encoder store %s works again", self.name)

    def _complain(self, about: str, message: str) -> None:
        """Say it once, until what it is about has worked again."""
        with self._lock:
            if about in self._complaints:
                return
            self._complaints.add(about)
        logger.warning("encoder store %s %s", self.name, message)

    def _count(self, **increments: int) -> None:
        with self._lock:
            for name, increment in increments.items():
                setattr(self._stats, name, getattr(self._stats, name) + increment)


def _kind(value: object) -> str:
    return f"an object of type {type(value).__name__}"
