"""The Redis store against real servers: what they keep, and what happens when they don't answer."""

from __future__ import annotations

import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from octavo.core.encoder_store.breaker import CircuitBreaker
from octavo.core.encoder_store.features import Features
from octavo.core.encoder_store.redis_store import VALUE_PREFIX, RedisStore
from octavo.core.encoder_store.store import StoreError, StoreRefusedError
from octavo.core.encoder_store.tier import StoreTier, TierSettings
from redis_server import MISSING, RedisServer, find_servers, has_tls, make_certificate

pytestmark = pytest.mark.redis

PAUSE = 0.1
PATIENT = "socket_timeout=3&socket_connect_timeout=3"
MakeTier = Callable[..., StoreTier]


def features(seed: int, shape: tuple[int, int] = (16, 64)) -> Features:
    bits = np.random.default_rng(seed).integers(0, 2**16, shape, dtype=np.uint16)
    return Features("bfloat16", bits)


def holds(tier: StoreTier, key: str, expected: Features) -> bool:
    found = tier.get(key)
    return found is not None and found.array.tobytes() == expected.array.tobytes()


def patient(url: str) -> str:
    """With timeouts that a busy machine meets, for tests that are not about them."""
    return f"{url}{'&' if '?' in url else '?'}{PATIENT}"


def answers_again(tier: StoreTier, key: str, expected: Features) -> bool:
    """Whether a tier comes back within a few of its breaker's pauses."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if holds(tier, key, expected):
            return True
        time.sleep(PAUSE / 10)
    return False


@pytest.fixture(params=find_servers() or [MISSING], ids=lambda path: Path(path).name)
def binary(request: pytest.FixtureRequest) -> str:
    if request.param == MISSING:
        pytest.fail(MISSING)
    return str(request.param)


@pytest.fixture
def server(binary: str) -> Iterator[RedisServer]:
    with RedisServer(binary) as running:
        yield running


@pytest.fixture
def make_tier() -> Iterator[MakeTier]:
    with ExitStack() as stack:

        def make(url: str, settings: TierSettings | None = None) -> StoreTier:
            breaker = CircuitBreaker(pause=PAUSE, max_pause=2 * PAUSE)
            tier = StoreTier("redis", RedisStore(url), settings or TierSettings(), breaker=breaker)
            stack.callback(tier.close)
            return tier

        yield make


def test_two_replicas_share(server: RedisServer, make_tier: MakeTier) -> None:
    one, two = make_tier(patient(server.url)), make_tier(patient(server.unix_url))
    assert two.get("a") is None
    assert one.lease("a", "one")
    assert not two.lease("a", "two")
    assert one.put("a", features(1))
    assert holds(two, "a", features(1))
    assert two.lease("a", "two")
    two.release("a", "two")
    assert one.lease("a", "one")
    assert one.stats.errors == two.stats.errors == 0


def test_what_is_stored_and_for_how_long(server: RedisServer, make_tier: MakeTier) -> None:
    tier = make_tier(patient(server.url), TierSettings(lease_seconds=50))
    tier.put("a", features(1))
    tier.lease("b", "me")
    with server.client() as client:
        assert set(client.keys()) == {b"octavo:encoder:a", b"octavo:lease:b"}
        assert 7 * 86400 - 60 < client.ttl("octavo:encoder:a") <= 7 * 86400
        assert 40 < client.ttl("octavo:lease:b") <= 50


def test_the_database_of_the_url(server: RedisServer) -> None:
    for url in (server.url[:-1] + "3", server.unix_url[:-1] + "3"):
        store = RedisStore(patient(url))
        store.set("a", url.encode(), None)
        store.close()
        with server.client() as client:
            assert client.keys() == []
            client.select(3)
            assert client.get(VALUE_PREFIX + "a") == url.encode()


def test_large_values(server: RedisServer) -> None:
    store = RedisStore(patient(server.url))
    value = np.random.default_rng(0).bytes(40 * 2**20)
    store.set("a", value, None)
    assert store.get("a") == value
    store.close()


def test_password(binary: str, make_tier: MakeTier, caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer(binary, password="hunter2") as server:
        assert make_tier(patient(server.url)).put("a", features(1))
        assert holds(make_tier(patient(f"{server.unix_url}&password=hunter2")), "a", features(1))
        assert caplog.text == ""
        for url in (server.url.replace("hunter2", "hunter3"), server.url.replace(":hunter2@", "")):
            caplog.clear()
            tier = make_tier(patient(url))
            assert [tier.get("a") for _ in range(5)] == [None] * 5
            assert tier.stats.errors > 0
            assert len(caplog.records) == 1
            assert re.search("password|Authentication required", caplog.text)
            assert "hunter" not in caplog.text


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("making a certificate needs openssl")
    return make_certificate(tmp_path)


def test_tls(binary: str, make_tier: MakeTier, certificate: tuple[Path, Path]) -> None:
    if not has_tls(binary):
        pytest.skip(f"{binary} was built without TLS")
    with RedisServer(binary, tls=certificate, password="hunter2") as server:
        assert server.url.startswith("rediss://")
        tier = make_tier(patient(server.url))
        large = features(1, (2048, 2048))
        assert tier.put("a", large)
        assert holds(tier, "a", large)
        for stranger in (
            server.url.partition("?")[0],
            server.url.replace("127.0.0.1", "localhost"),
        ):
            with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
                RedisStore(patient(stranger)).get("a")
        with pytest.raises(StoreError):
            RedisStore(server.url.replace("rediss", "redis").partition("?")[0]).get("a")


def test_no_server_at_first(server: RedisServer, make_tier: MakeTier) -> None:
    server.kill()
    tiers = [make_tier(server.url), make_tier(server.unix_url)]
    for tier in tiers:
        assert tier.get("a") is None
    server.restart()
    for tier in tiers:
        tier.put("a", features(1))
        assert answers_again(tier, "a", features(1))


def test_a_killed_server_costs_nothing(
    server: RedisServer, make_tier: MakeTier, caplog: pytest.LogCaptureFixture
) -> None:
    tier = make_tier(server.url)
    assert tier.put("a", features(1))
    server.kill()
    for _ in range(20):
        assert tier.get("a") is None
        assert not tier.put("a", features(1))
        assert tier.lease("a", "me")
        tier.release("a", "me")
    assert tier.stats.breaker_open
    assert [record.message[:30] for record in caplog.records] == ["encoder store redis fails and "]
    server.restart()
    time.sleep(2 * PAUSE)
    assert tier.get("a") is None
    assert tier.put("a", features(1))
    assert answers_again(tier, "a", features(1))
    assert "encoder store redis works again" in caplog.text


def test_a_restart_between_two_calls_is_no_failure(server: RedisServer) -> None:
    store = RedisStore(patient(server.url))
    store.set("a", b"one", None)
    server.restart()
    assert store.get("a") is None
    store.close()


def test_a_hanging_server_costs_little(
    server: RedisServer, make_tier: MakeTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    get = RedisStore.get

    def get_and_count(store: RedisStore, key: str) -> bytes | None:
        asked.append(key)
        return get(store, key)

    monkeypatch.setattr(RedisStore, "get", get_and_count)
    for tier in (make_tier(server.url), make_tier(server.unix_url)):
        assert tier.put("a", features(1))
        assert tier.put("b", features(2))
        server.pause()
        for _ in range(3):
            assert tier.get("a") is None
        assert tier.stats.breaker_open
        # Left alone from now on, but for one call after each pause.
        asked.clear()
        for _ in range(1000):
            assert tier.get("a") is None
        assert len(asked) < 100
        server.resume()
        # Answers to what was given up must not be taken for others.
        assert answers_again(tier, "b", features(2))
        assert holds(tier, "a", features(1))


def test_a_full_server_still_answers(
    binary: str, make_tier: MakeTier, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer(binary, maxmemory=8 * 2**20) as server:
        tier = make_tier(patient(server.url))
        mebibyte = (512, 1024)
        written = [tier.put(f"{i}", features(i, mebibyte)) for i in range(14)]
        count = written.index(False)
        assert count > 2
        assert not any(written[count:])
        assert all(holds(tier, f"{i}", features(i, mebibyte)) for i in range(count))
        assert not tier.stats.breaker_open
        assert tier.stats.errors == 14 - count
        assert len(caplog.records) == 1
        assert "refuses to set" in caplog.text


def test_a_damaged_value_is_a_miss(server: RedisServer, make_tier: MakeTier) -> None:
    tier = make_tier(patient(server.url))
    tier.put("a", features(1))
    with server.client() as client:
        client.setrange(VALUE_PREFIX + "a", 100, bytes([client.get(VALUE_PREFIX + "a")[100] ^ 8]))
        assert tier.get("a") is None
        assert client.exists(VALUE_PREFIX + "a") == 0
    assert tier.stats.corrupt == 1
    assert tier.put("a", features(1))
    assert holds(tier, "a", features(1))


def test_a_value_of_another_key_is_a_miss(server: RedisServer, make_tier: MakeTier) -> None:
    tier = make_tier(patient(server.url))
    tier.put("a", features(1))
    with server.client() as client:
        client.copy(VALUE_PREFIX + "a", VALUE_PREFIX + "b")
    assert tier.get("b") is None
    assert holds(tier, "a", features(1))
    assert tier.stats.corrupt == 1


def test_a_value_of_another_secret_is_a_miss(server: RedisServer, make_tier: MakeTier) -> None:
    secrets = (b"ours", b"theirs", None)
    tiers = [make_tier(patient(server.url), TierSettings(secret=secret)) for secret in secrets]
    for writer in tiers:
        for reader in tiers:
            writer.put("a", features(1))
            assert holds(reader, "a", features(1)) == (reader is writer)
    assert [tier.stats.corrupt for tier in tiers] == [2, 2, 2]


def test_a_key_of_another_type_is_a_miss(server: RedisServer, make_tier: MakeTier) -> None:
    tier = make_tier(patient(server.url))
    with server.client() as client:
        client.rpush(VALUE_PREFIX + "a", "not", "ours")
    store = RedisStore(patient(server.url))
    with pytest.raises(StoreRefusedError, match="WRONGTYPE"):
        store.get("a")
    store.close()
    assert tier.get("a") is None
    assert tier.stats.errors == 1
    assert tier.put("a", features(1))
    assert holds(tier, "a", features(1))


def test_twenty_threads_at_once(server: RedisServer, make_tier: MakeTier) -> None:
    tier = make_tier(patient(server.url))

    def work(thread: int) -> bool:
        mine = features(thread, (64, 256))
        return all(
            tier.put(f"{thread}/{i}", mine) and holds(tier, f"{thread}/{i}", mine)
            for i in range(20)
        )

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(work, range(20)))
    stats = tier.stats
    assert (stats.hits, stats.writes, stats.errors) == (400, 400, 0)
    with server.client() as client:
        assert len(client.client_list()) <= 9


def trickle(listener: socket.socket, ended: threading.Event) -> None:
    """Serve one client after another: a large value byte by byte, then short answers."""
    slow = True
    while not ended.is_set():
        client, _ = listener.accept()
        with client:
            while data := client.recv(4096):
                if b"SETINFO" in data:
                    client.sendall(b"+OK\r\n")
                elif not slow:
                    client.sendall(b"$5\r\nshort\r\n")
                else:
                    slow = False
                    client.sendall(b"$1000000\r\n")
                    while not ended.wait(0.01):
                        try:
                            client.sendall(b"x")
                        except OSError:
                            break
                    break


def test_a_value_that_trickles_is_given_up() -> None:
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        serving = pool.submit(trickle, listener, ended)
        port = listener.getsockname()[1]
        store = RedisStore(f"redis://127.0.0.1:{port}?max_connections=1&socket_timeout=0.2")
        with pytest.raises(StoreError, match="didn't answer within 2 s"):
            store.get("a")
        assert store.get("a") == b"short", "its only thread did not come back"
        ended.set()
        store.close()
        serving.result(20)


def read_slowly(listener: socket.socket, size: int) -> int:
    """Take a SET of so many bytes in more than two seconds, as over a slow line."""
    client, _ = listener.accept()
    with client:
        taken = 0
        while data := client.recv(2**18):
            if b"SETINFO" in data:
                client.sendall(b"+OK\r\n")
            elif taken < size:
                taken += len(data)
                time.sleep(2.4 * len(data) / size)
                if taken >= size:
                    client.sendall(b"+OK\r\n")
            else:
                client.sendall(b":0\r\n")
        return taken


def test_a_slow_line_may_take_longer_than_one_timeout() -> None:
    size = 24 * 2**20
    with socket.socket() as listener, ThreadPoolExecutor(1) as pool:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        serving = pool.submit(read_slowly, listener, size)
        store = RedisStore(f"redis://127.0.0.1:{listener.getsockname()[1]}?socket_timeout=2")
        store.set("a", bytes(size), None)
        store.close()
        assert serving.result(20) > size


def test_closing_ends_calls_that_wait(server: RedisServer) -> None:
    store = RedisStore(f"{server.url}?socket_timeout=60&max_connections=1")
    store.set("a", b"x", None)
    server.pause()
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(store.get, "a") for _ in range(3)]
        time.sleep(0.1)
        store.close()
        for call in calls:
            with pytest.raises(StoreError):
                call.result(20)


FAULTY_URLS = {
    "http://:hunter2@host": "expected redis://",
    "redis://:hun/ter2@host": "port can't be read",
    "redis://:hun#ter2@host": "port can't be read",
    "redis://:hunter2@host#1": "expected redis://",
    "redis://:hunter2@host:many": "port can't be read",
    "redis://:hunter2@[::1": "port can't be read",
    "redis://:hunter2@": "names no host",
    "redis://:hunter2@host/zero": "database must be a number, such as /0, got '/zero'",
    "redis://user:hunter2@host?database=1": "no option 'database'; there are client_name, db",
    "redis://:hunter2@host?db=one": "'db'",
    "redis://:hunter2@host?protocol=4": "protocol must be either 2 or 3",
    "redis://:hunter2@host?socket_timeout=soon": "must be a number of seconds above 0, got 'soon'",
    "redis://:hunter2@host?socket_connect_timeout=0": "above 0, got '0'",
    "redis://:hunter2@host?socket_timeout=inf": "above 0, got 'inf'",
    "redis://:hunter2@host?ssl_ca_certs=/ca.pem": "for rediss:// only",
    "rediss://:hunter2@host?ssl_ca_certs=/gone.pem": "'/gone.pem', which isn't there",
    "rediss://:hunter2@host?ssl_cert_reqs=maybe": "maybe",
    "unix://?password=hunter2": "names no socket",
    "unix://tmp/x.sock?db=1&password=hunter2": "names no socket",
}


@pytest.mark.parametrize(("url", "message"), FAULTY_URLS.items(), ids=FAULTY_URLS)
def test_a_faulty_url_is_named_without_its_password(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        RedisStore(url)
    shown = str(caught.value) + repr(caught.value.__cause__)
    assert "hun" not in shown
    assert "ter2" not in shown
    assert shown.startswith(url[: url.index("//") + 2])


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get("a"),
        lambda store: store.set("a", b"x", 1),
        lambda store: store.delete("a"),
        lambda store: store.lease("a", "me", 1),
        lambda store: store.release("a", "me"),
    ],
)
def test_every_call_ends_soon_without_a_server(
    server: RedisServer, call: Callable[[RedisStore], object]
) -> None:
    store = RedisStore(server.url)
    store.set("a", b"x", None)
    for broken in (server.pause, server.kill):
        broken()
        with pytest.raises(StoreError, match=re.escape(server.url)):
            call(store)
    store.close()
