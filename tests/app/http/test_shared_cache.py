"""Features of images shared by servers through a real Redis, whatever happens to it."""

from __future__ import annotations

import base64
import io
import itertools
import random
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from octavo import LLM
from octavo.app import DEMO_MODEL
from octavo.core.encoder_store.codec import decode_entry, encode_entry
from octavo.core.encoder_store.features import Features
from PIL import Image
from redis_server import MISSING, RedisServer, find_servers
from safetensors.torch import load_file, save_file
from serving import metric, running_server, wait_until

pytestmark = pytest.mark.redis

CORRUPT = 'encoder_cache_corrupt_total{tier="redis"}'
OPTIONS = ("--dtype=float32", "--kv-cache-memory=64MiB", "--no-enable-prefix-caching")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    servers = find_servers()
    assert servers, MISSING
    with RedisServer(servers[0]) as server:
        yield server


@pytest.fixture(scope="module")
def urls(redis: RedisServer) -> Iterator[tuple[str, str]]:
    """Two servers and one Redis."""
    store = f"--encoder-cache={redis.url}"
    with (
        running_server(*OPTIONS, store) as first,
        running_server(*OPTIONS, store) as second,
    ):
        yield first, second


def picture(seed: int, side: int = 64) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def content(*images: str | None, uuid: str | None = None) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": url and {"url": url}, **({"uuid": uuid} if uuid else {})}
        for url in images
    ]
    return [*parts, {"type": "text", "text": "What is this?"}]


def ask(base: str, *images: str | None, uuid: str | None = None, **fields: Any) -> httpx.Response:
    messages = [{"role": "user", "content": content(*images, uuid=uuid)}]
    body = {"messages": messages, "max_tokens": 3, **fields}
    return httpx.post(f"{base}/v1/chat/completions", json=body, timeout=240)


def answer(base: str, *images: str | None, **fields: Any) -> str:
    response = ask(base, *images, temperature=0, **fields)
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


def encoded(base: str) -> float:
    return metric(base, "encoder_runs_total")


def wait_for_write(redis: RedisServer, count: int) -> None:
    wait_until(lambda: len(list(redis.client().scan_iter("octavo:encoder:*"))) >= count, 20)


def test_what_one_server_saw_the_other_need_not_encode(
    redis: RedisServer, urls: tuple[str, str]
) -> None:
    first, second = urls
    redis.client().flushall()
    before = encoded(first), encoded(second)
    expected = answer(first, picture(1))
    wait_for_write(redis, 1)
    assert answer(second, picture(1)) == expected
    assert (encoded(first), encoded(second)) == (before[0] + 1, before[1])
    assert metric(second, 'encoder_cache_hits_total{tier="redis"}') == 1
    # Of three images only the new one is encoded, and the answer says so.
    answer(first, picture(2))
    wait_for_write(redis, 2)
    given = ask(second, picture(1), picture(2), picture(3), include_timings=True).json()
    sources = [image["source"] for image in given["timings"]["images"]]
    assert sources == ["engine", "redis", "encoded"]
    assert encoded(second) == before[1] + 1
    assert metric(first, 'encoder_cache_bytes_written_total{tier="redis"}') > 64 * 128


def test_a_flipped_byte_is_computed_anew_and_counted(
    redis: RedisServer, urls: tuple[str, str]
) -> None:
    first, second = urls
    redis.client().flushall()
    expected = answer(first, picture(10))
    wait_for_write(redis, 1)
    (key,) = redis.client().scan_iter("octavo:encoder:*")
    value = bytearray(redis.client().get(key) or b"")
    value[len(value) // 2] ^= 1
    redis.client().set(key, bytes(value))
    before = encoded(second)
    assert answer(second, picture(10)) == expected
    assert encoded(second) == before + 1
    assert metric(second, CORRUPT) == 1


@pytest.mark.parametrize(("wrong", "seed"), [("width", 11), ("dtype", 12), ("finite", 13)])
def test_features_that_do_not_fit_are_deleted(
    redis: RedisServer, urls: tuple[str, str], wrong: str, seed: int
) -> None:
    """Whoever wrote them: with a good checksum, and under the right key."""
    first, second = urls
    redis.client().flushall()
    shown = picture(seed)
    expected = answer(first, shown)
    wait_for_write(redis, 1)
    (name,) = redis.client().scan_iter("octavo:encoder:*")
    key = name.decode().rpartition(":")[2]
    good = decode_entry(redis.client().get(name) or b"", key, secret=None, max_bytes=2**24)
    array = {
        "width": good.array[:, :-1],
        "dtype": good.array.astype(np.float16),
        "finite": np.full_like(good.array, np.nan),
    }[wrong]
    bad = Features("float16" if wrong == "dtype" else "float32", array)
    redis.client().set(name, encode_entry(bad, key, compress=False, secret=None))
    before = metric(second, CORRUPT), encoded(second)
    assert answer(second, shown) == expected
    assert (metric(second, CORRUPT), encoded(second)) == (before[0] + 1, before[1] + 1)


def test_twenty_requests_on_two_servers_encode_once(
    redis: RedisServer, urls: tuple[str, str]
) -> None:
    redis.client().flushall()
    before = sum(map(encoded, urls))
    with ThreadPoolExecutor(20) as pool:
        answers = set(pool.map(lambda i: answer(urls[i % 2], picture(20)), range(20)))
    assert len(answers) == 1
    assert sum(map(encoded, urls)) == before + 1
    wait_until(lambda: not list(redis.client().scan_iter("octavo:lease:*")), 5)


def test_a_lost_lease_costs_a_wait_and_no_error(redis: RedisServer, urls: tuple[str, str]) -> None:
    """Somebody who died held the lease: as long as it lasts, others wait for their features."""
    first, _ = urls
    redis.client().flushall()
    expected = answer(first, picture(30))
    wait_for_write(redis, 1)
    (key,) = redis.client().scan_iter("octavo:encoder:*")
    name = key.decode().rpartition(":")[2]
    redis.client().flushall()
    redis.client().set(f"octavo:lease:{name}", "gone", px=1500)
    assert answer(urls[1], picture(30)) == expected
    assert redis.client().get(f"octavo:lease:{name}") != b"gone"


def test_after_a_restart_nothing_is_encoded_again_but_with_other_weights(
    redis: RedisServer, tmp_path: Path
) -> None:
    redis.client().flushall()
    model = tmp_path / "model"
    shutil.copytree(DEMO_MODEL, model)
    store = f"--encoder-cache={redis.url}"
    with running_server(str(model), *OPTIONS, store) as base:
        expected = answer(base, picture(40))
        assert encoded(base) == 1
    # What was still to be written is, at the end.
    again = engine(model, redis)
    assert offline_answer(again, picture(40)) == expected
    assert (again.stats().encoder_runs, again.stats().encoder_loads) == (0, 1)
    again.close()
    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if "vision" in name and name.endswith("weight"))
    weights[name] = weights[name] * 1.01
    save_file(weights, model / "model.safetensors")
    other = engine(model, redis)
    offline_answer(other, picture(40))
    assert other.stats().encoder_runs == 1
    other.close()


def engine(model: Path, redis: RedisServer) -> LLM:
    """What is started after a server, in this process; it reads and writes the store as one."""
    return LLM(model, dtype="float32", kv_cache_memory=2**26, encoder_cache=redis.url)


def offline_answer(llm: LLM, image: str) -> str:
    """The answer to the same request as that of `answer`."""
    message = {"role": "user", "content": content(image)}
    (output,) = llm.chat([message], llm.default_sampling_params(temperature=0, max_tokens=3))
    return output.outputs[0].text


class Load:
    """Requests for new and repeated images, one after another on each of some threads."""

    def __init__(self, bases: tuple[str, str], num_threads: int = 4) -> None:
        self._bases = bases
        self._end = threading.Event()
        self.statuses: list[int] = []
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(num_threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self, index: int) -> None:
        rng = random.Random(index)
        while not self._end.is_set():
            response = ask(rng.choice(self._bases), picture(1000 + rng.randrange(60)))
            self.statuses.append(response.status_code)

    def wait_for(self, count: int) -> None:
        """Until so many more requests have been answered."""
        target = len(self.statuses) + count
        wait_until(lambda: len(self.statuses) >= target, 60)


def test_redis_paused_killed_full_and_restarted_under_load(
    redis: RedisServer, urls: tuple[str, str]
) -> None:
    """No request fails."""
    redis.client().flushall()
    with Load(urls) as load:
        load.wait_for(15)
        redis.pause()
        load.wait_for(25)
        redis.resume()
        load.wait_for(10)
        used = redis.client().info("memory")["used_memory"]
        redis.client().config_set("maxmemory", used)
        load.wait_for(25)
        redis.client().config_set("maxmemory", 0)
        redis.kill()
        load.wait_for(25)
        redis.restart()
        load.wait_for(15)
    assert set(load.statuses) == {200}
    seeds = itertools.count(2000)

    def works_again() -> bool:
        """Only who uses it finds out."""
        answer(urls[0], picture(next(seeds)))
        return metric(urls[0], 'encoder_cache_breaker_open{tier="redis"}') == 0

    wait_until(works_again, 60)
    redis.client().flushall()

    def writes_again() -> bool:
        """The engine, which writes, has a breaker of its own, and may have written nothing yet."""
        answer(urls[0], picture(next(seeds)))
        return any(True for _ in redis.client().scan_iter("octavo:encoder:*"))

    wait_until(writes_again, 60)


def test_a_name_stands_for_an_image_that_was_sent(urls: tuple[str, str]) -> None:
    first, _ = urls
    named = {"uuid": "holiday", "cache_salt": "me"}
    expected = answer(first, picture(60), **named)
    before = encoded(first)
    assert answer(first, None, **named) == expected
    for both in ((picture(60), None), (None, picture(60))):
        assert answer(first, *both, **named)
    assert encoded(first) == before
    for unknown in ({"uuid": "other", "cache_salt": "me"}, {"uuid": "holiday"}):
        refused = ask(first, None, **unknown)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "image_not_cached"
        assert refused.json()["error"]["param"] == "messages[0].content[0].image_url"
