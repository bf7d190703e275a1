"""Stores by their protocol, and what the engine uses on top of them."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event

import numpy as np
import pytest
from octavo.core.contracts.specs import EncoderStoreSpec
from octavo.core.encoder_store.breaker import CircuitBreaker
from octavo.core.encoder_store.features import Features
from octavo.core.encoder_store.memory_store import MemoryStore
from octavo.core.encoder_store.open_store import open_store
from octavo.core.encoder_store.redis_store import RedisStore
from octavo.core.encoder_store.store import EncoderStore, StoreError, StoreRefusedError
from octavo.core.encoder_store.tier import StoreTier, TierSettings
from octavo.core.encoder_store.write_behind import WriteBehind
from octavo.core.protocol.config import ConfigError
from redis_server import MISSING, RedisServer, find_servers
from serving import wait_until

ONE = Features("float32", np.arange(12, dtype=np.float32).reshape(3, 4))
TWO = Features("bfloat16", np.arange(20, dtype=np.uint16).reshape(4, 5))

REDIS = [pytest.param(binary, marks=pytest.mark.redis) for binary in find_servers() or [MISSING]]


@pytest.fixture(params=["memory", *REDIS])
def store(request: pytest.FixtureRequest) -> Iterator[EncoderStore]:
    with ExitStack() as stack:
        if request.param == MISSING:
            pytest.fail(MISSING)
        if request.param == "memory":
            opened: EncoderStore = MemoryStore(2**20)
        else:
            server = stack.enter_context(RedisServer(request.param))
            opened = RedisStore(f"{server.url}?socket_timeout=2&socket_connect_timeout=2")
        stack.callback(opened.close)
        yield opened


def test_values(store: EncoderStore) -> None:
    assert store.get("a") is None
    store.delete("a")
    for value in (b"one", bytes(range(256)) * 1000):
        store.set("a", value, None)
        assert store.get("a") == value
    store.set("b", b"two", 60)
    store.delete("a")
    assert store.get("a") is None
    assert store.get("b") == b"two"


def test_time_to_live(store: EncoderStore) -> None:
    store.set("a", b"short", 0.05)
    store.set("b", b"long", 60)
    store.set("c", b"short, then long", 0.05)
    store.set("c", b"long", None)
    time.sleep(0.1)
    assert [store.get(key) for key in "abc"] == [None, b"long", b"long"]


def test_a_lease_has_one_owner(store: EncoderStore) -> None:
    assert store.lease("a", "me", 60)
    assert store.lease("a", "me", 60)
    assert not store.lease("a", "you", 60)
    assert store.lease("b", "you", 60)
    store.release("a", "you")
    assert not store.lease("a", "you", 60), "released by one who did not hold it"
    store.release("a", "me")
    store.release("a", "me")
    assert store.lease("a", "you", 60)
    assert not store.lease("a", "me", 60)


def test_a_lease_expires_unless_extended(store: EncoderStore) -> None:
    assert store.lease("a", "me", 0.05)
    assert store.lease("b", "me", 0.05)
    assert store.lease("b", "me", 60)
    time.sleep(0.1)
    assert store.lease("a", "you", 60)
    assert not store.lease("b", "you", 60)
    store.release("a", "me")
    assert not store.lease("a", "me", 60), "released by one whose lease had expired"


def test_a_value_ends_the_lease(store: EncoderStore) -> None:
    store.lease("a", "me", 60)
    store.lease("b", "me", 60)
    store.set("a", b"done", None)
    assert store.lease("a", "you", 60)
    assert not store.lease("b", "you", 60)


def test_of_many_threads_one_gets_the_lease(store: EncoderStore) -> None:
    with ThreadPoolExecutor(20) as pool:
        got = list(pool.map(lambda i: store.lease("a", f"owner {i}", 60), range(100)))
    assert sum(got) == 1


def test_a_closed_store_says_so(store: EncoderStore) -> None:
    store.close()
    store.close()
    for call in (
        lambda: store.get("a"),
        lambda: store.set("a", b"", None),
        lambda: store.delete("a"),
        lambda: store.lease("a", "me", 1),
        lambda: store.release("a", "me"),
    ):
        with pytest.raises(StoreError, match="closed"):
            call()


def test_memory_lets_the_least_recently_used_go() -> None:
    store = MemoryStore(30)
    for key in "abc":
        store.set(key, bytes(10), None)
    store.get("a")
    store.set("d", bytes(5), None)
    assert [store.get(key) is not None for key in "abcd"] == [True, False, True, True]
    store.set("d", bytes(10), None)
    assert [store.get(key) is not None for key in "acd"] == [True, True, True]
    with pytest.raises(StoreRefusedError, match="31 bytes is more than the store's 30"):
        store.set("e", bytes(31), None)
    assert [store.get(key) is not None for key in "acd"] == [True, True, True]


class SwitchedStore(MemoryStore):
    """One that fails at gets while `error` is set, and can be held up while it writes."""

    def __init__(self) -> None:
        super().__init__(2**20)
        self.error: Exception | None = None
        self.gets = 0
        self.writing = Event()
        self.may_write = Event()
        self.may_write.set()

    def get(self, key: str) -> bytes | None:
        self.gets += 1
        if self.error is not None:
            raise self.error
        return super().get(key)

    def set(self, key: str, value: bytes, ttl_seconds: float | None) -> None:
        self.writing.set()
        assert self.may_write.wait(20)
        super().set(key, value, ttl_seconds)


def test_a_tier_keeps_features_and_counts() -> None:
    seen: list[tuple[str, float]] = []
    store = MemoryStore(2**20)
    tier = StoreTier("m", store, TierSettings(), lambda name, seconds: seen.append((name, seconds)))
    assert tier.get("a") is None
    assert tier.put("a", ONE)
    found = tier.get("a")
    assert found is not None
    assert found.dtype == "float32"
    assert found.array.tolist() == ONE.array.tolist()
    size = len(store.get("a") or b"")
    stats = tier.stats
    assert (stats.hits, stats.misses, stats.writes, stats.errors) == (1, 1, 1, 0)
    assert stats.bytes_read == stats.bytes_written == size == 64 + 48
    assert [name for name, _ in seen] == ["get", "set", "get"]
    assert all(seconds >= 0 for _, seconds in seen)


@pytest.mark.parametrize("error", [StoreError("no route"), KeyError("a plugin's own mistake")])
def test_an_outage_is_logged_once_and_the_store_left_alone(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    store = SwitchedStore()
    breaker = CircuitBreaker(failures=3, pause=1.0, clock=lambda: now)
    tier = StoreTier("shared", store, TierSettings(), breaker=breaker)
    tier.put("a", ONE)
    store.error = error
    assert [tier.get("a") for _ in range(10)] == [None] * 10
    assert store.gets == 3
    assert tier.stats.breaker_open
    assert not tier.put("b", ONE)
    assert tier.lease("a", "me")
    assert tier.lease("a", "you"), "in an outage everyone computes"
    assert tier.stats.errors == 3
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "encoder store shared fails and is left alone for a while"
    ]
    store.error = None
    now = 1.1
    assert tier.get("a") is not None
    assert not tier.stats.breaker_open
    assert caplog.records[-1].message == "encoder store shared works again"
    assert len(caplog.records) == 2


def test_a_refusal_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    store = SwitchedStore()
    tier = StoreTier("shared", store, TierSettings())
    tier.put("a", ONE)
    store.error = StoreRefusedError("not for you")
    assert [tier.get("a") for _ in range(10)] == [None] * 10
    assert not tier.stats.breaker_open
    assert tier.stats.errors == 10
    assert [r.message for r in caplog.records] == [
        "encoder store shared refuses to get: not for you"
    ]
    store.error = None
    assert tier.get("a") is not None


def test_features_beyond_the_limit_are_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    tier = StoreTier("m", MemoryStore(2**20), TierSettings(max_item_bytes=47))
    assert not tier.put("a", ONE)
    assert not tier.put("a", ONE)
    assert tier.put("b", TWO)
    assert tier.stats.oversized == 2
    assert [r.message for r in caplog.records] == [
        "encoder store m doesn't keep features of 48 bytes: max_item_bytes is 47"
    ]


def test_a_bad_entry_is_deleted(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore(2**20)
    tier = StoreTier("m", store, TierSettings())
    for key in "ab":
        store.set(key, b"x" * 100, None)
        assert tier.get(key) is None
        assert store.get(key) is None
    stats = tier.stats
    assert (stats.corrupt, stats.misses, stats.bytes_read) == (2, 2, 200)
    assert len(caplog.records) == 1
    assert "held a bad entry, now deleted" in caplog.text


@pytest.mark.parametrize(
    "settings", [{"ttl_seconds": 0}, {"max_item_bytes": -1}, {"lease_seconds": 0}, {"secret": b""}]
)
def test_settings_that_can_not_work(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="of an encoder store"):
        TierSettings(**settings)


def test_write_behind_never_waits_and_keeps_its_budget() -> None:
    store = SwitchedStore()
    store.may_write.clear()
    tier = StoreTier("m", store, TierSettings())
    writer = WriteBehind(tier, max_bytes=2 * ONE.nbytes)
    assert [writer.submit(key, ONE) for key in "abcd"] == [True, True, False, False]
    assert store.writing.wait(20)
    assert store.get("a") is None
    assert writer.dropped == 2
    store.may_write.set()
    # There is room again once what was taken is written.
    wait_until(lambda: writer.submit("d", ONE))
    writer.close(20)
    assert [tier.get(key) is not None for key in "abcd"] == [True, True, False, True]
    assert not writer.submit("e", ONE)


def test_what_is_not_written_before_the_end_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    store = SwitchedStore()
    store.may_write.clear()
    writer = WriteBehind(StoreTier("m", store, TierSettings()))
    for key in "abc":
        writer.submit(key, ONE)
    assert store.writing.wait(20)
    writer.close(0.05)
    assert writer.dropped == 2
    assert "features of 2 images were not stored" in caplog.text
    store.may_write.set()
    wait_until(lambda: store.get("a") is not None)
    assert (store.get("a") is not None, store.get("b")) == (True, None)


def test_the_writer_outlives_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    def observe(operation: str, seconds: float) -> None:
        seen.append(operation)
        raise RuntimeError("a mistake")

    writer = WriteBehind(StoreTier("m", MemoryStore(2**20), TierSettings(), observe))
    writer.submit("a", ONE)
    writer.submit("b", ONE)
    writer.close(20)
    assert len(seen) == 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


class PluginStore(MemoryStore):
    """As a plugin would bring it."""

    def __init__(self, url: str) -> None:
        super().__init__(100)
        self.url = url


PLUGIN = EncoderStoreSpec("mine", ("mine", "mines"), f"{__name__}:PluginStore")


def test_a_store_is_chosen_by_scheme() -> None:
    stores = {"mine": PLUGIN}
    for url in ("redis://host/1", "rediss://host", "unix:///tmp/x.sock"):
        opened = open_store(url, stores)
        assert isinstance(opened, RedisStore)
        opened.close()
    assert isinstance(open_store("memory://?max_bytes=100", stores), MemoryStore)
    plugin = open_store("mines://somewhere", stores)
    assert type(plugin).__name__ == "PluginStore"
    assert vars(plugin)["url"] == "mines://somewhere"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket", "one of redis://, rediss://, unix://, memory://, gone://, "),
        ("host:6379", "must begin with one of"),
        ("gone://x", "'gone' can't be loaded: No module named 'octavo_gone'"),
        ("twice://x", "'two' and 'also two' both open twice://"),
        ("redis://host/zero", "database must be a number"),
        ("memory://", r"expected a URL such as memory://\?max_bytes="),
        ("memory://?max_bytes=many", "got 'memory://"),
    ],
)
def test_urls_that_open_nothing(url: str, message: str) -> None:
    specs = [
        EncoderStoreSpec("gone", ("gone",), "octavo_gone:Store"),
        EncoderStoreSpec("two", ("twice",), "octavo_gone:Store"),
        EncoderStoreSpec("also two", ("twice",), "octavo_gone:Store"),
    ]
    with pytest.raises(ConfigError, match=message):
        open_store(url, {spec.name: spec for spec in specs})


def test_torch_is_not_imported() -> None:
    code = (
        "import sys; from octavo.core.encoder_store import open_store, tier, write_behind; "
        "open_store.open_store('redis://host', {}).close(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
