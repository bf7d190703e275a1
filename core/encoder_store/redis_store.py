"""A store in Redis or Valkey, shared by replicas."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any, TypeVar, cast

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.connection import PythonRespSerializer
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from .redis_url import fault_in_url, without_password
from .store import StoreError, StoreRefusedError

VALUE_PREFIX = "octavo:encoder:"
LEASE_PREFIX = "octavo:lease:"
_DEADLINE_IN_SOCKET_TIMEOUTS = 10
_PIECE_BYTES = 2**18

# What a URL may say otherwise. RESP2 needs no greeting, and its timeouts are the same always: with
# RESP3 a server may have them relaxed to many seconds while it is being maintained.
_DEFAULTS: dict[str, Any] = {
    "socket_timeout": 0.1,
    "socket_connect_timeout": 0.1,
    "max_connections": 8,
    "protocol": 2,
}

_LEASE = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

Result = TypeVar("Result")


class _PiecewisePacker(PythonRespSerializer):
    """Cuts large values up: Python's sendall has one timeout for all that it is given."""

    def __init__(self) -> None:
        super().__init__(buffer_cutoff=6000, encode=_encode)

    def pack(self, *args: Any) -> list[bytes | memoryview]:
        """A command in RESP, to be sent piece by piece."""
        chunks: list[bytes] = super().pack(*args)  # type: ignore[no-untyped-call]
        return [piece for chunk in chunks for piece in _cut(chunk)]


def _encode(argument: bytes | str | int) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()


def _cut(chunk: bytes) -> list[bytes | memoryview]:
    if len(chunk) <= _PIECE_BYTES:
        return [chunk]
    view = memoryview(chunk)
    return [view[start : start + _PIECE_BYTES] for start in range(0, len(view), _PIECE_BYTES)]


class RedisStore:
    """An EncoderStore at a URL as redis-py takes it:

        redis://[[user]:password@]host[:port][/database]
        rediss://…?ssl_ca_certs=/path/ca.pem        with TLS
        unix:///path/to.sock?db=0&password=…

    Options in the query are redis-py's, such as ssl_certfile and ssl_keyfile, socket_timeout (for
    one step of reading or writing, 0.1 s unless given) or max_connections (8 unless given).

    Nothing is tried twice. An operation takes ten socket timeouts at most, finding the address
    and waiting for a connection included: it runs on a thread of the store's own, one for each
    connection, so that the caller can leave it.
    """

    def __init__(self, url: str) -> None:
        pool = _open_pool(url)
        self._address = without_password(url)
        self._pool = pool
        self._redis = Redis(connection_pool=pool)
        self._deadline = _DEADLINE_IN_SOCKET_TIMEOUTS * pool.connection_kwargs["socket_timeout"]
        self._threads = ThreadPoolExecutor(pool.max_connections, "octavo-redis")

    def get(self, key: str) -> bytes | None:
        """See EncoderStore."""
        return self._run(lambda: cast("bytes | None", self._redis.get(VALUE_PREFIX + key)))

    def set(self, key: str, value: bytes, ttl_seconds: float | None) -> None:
        """See EncoderStore."""
        expires = None if ttl_seconds is None else _milliseconds(ttl_seconds)

        def write() -> None:
            # One by one: a pipeline writes the whole value into its message when it is refused.
            self._redis.set(VALUE_PREFIX + key, value, px=expires)
            self._redis.delete(LEASE_PREFIX + key)

        self._run(write)

    def delete(self, key: str) -> None:
        """See EncoderStore."""
        self._run(lambda: self._redis.delete(VALUE_PREFIX + key))

    def lease(self, key: str, owner: str, seconds: float) -> bool:
        """See EncoderStore."""
        milliseconds = str(_milliseconds(seconds))
        answer: object = self._run(
            lambda: self._redis.eval(_LEASE, 1, LEASE_PREFIX + key, owner, milliseconds)
        )
        return answer == 1

    def release(self, key: str, owner: str) -> None:
        """See EncoderStore."""
        self._run(lambda: self._redis.eval(_RELEASE, 1, LEASE_PREFIX + key, owner))

    def close(self) -> None:
        """See EncoderStore."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.disconnect()

    def _run(self, operation: Callable[[], Result]) -> Result:
        try:
            future = self._threads.submit(operation)
        except RuntimeError as error:
            raise StoreError("the store is closed") from error
        try:
            return future.result(self._deadline)
        except CancelledError as error:
            raise StoreError("the store was closed") from error
        except TimeoutError as error:
            if not future.cancel():
                self._pool.disconnect()  # so that a thread that still reads comes back
            raise StoreError(
                f"{self._address} didn't answer within {self._deadline:g} s"
            ) from error
        except ResponseError as error:
            raise StoreRefusedError(f"{self._address} refused: {error}") from error
        # The latter two come of a connection that was closed while a thread read from it.
        except (RedisError, OSError, ValueError, AttributeError) as error:
            raise StoreError(f"{self._address} failed: {error}") from error


def _open_pool(url: str) -> ConnectionPool:
    """Connections for a URL, none of them open. Raises ValueError."""
    fault = fault_in_url(url)
    if fault is None:
        try:
            pool = ConnectionPool.from_url(
                url,
                **_DEFAULTS,
                retry=Retry(NoBackoff(), 0),
                command_packer=_PiecewisePacker(),
            )
            pool.connection_class(**pool.connection_kwargs)  # checks the options; connects later
        except (ValueError, RedisError) as error:
            fault = str(error)
        else:
            return pool
    raise ValueError(f"{without_password(url)} can't be the URL of a Redis server: {fault}")


def _milliseconds(seconds: float) -> int:
    return max(1, round(1000 * seconds))
