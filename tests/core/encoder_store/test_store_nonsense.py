"""A plugin's store that returns nonsense costs a request nothing but the time to compute: no error,
no other answer, and one line in the log."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from octavo import LLM, SamplingParams
from octavo.core.contracts.specs import EncoderStoreSpec
from octavo.core.encoder_store.codec import encode_entry
from octavo.core.encoder_store.features import Features
from octavo.core.encoder_store.find_features import find_fitting
from octavo.core.encoder_store.open_store import open_store
from octavo.core.encoder_store.tier import StoreTier, TierSettings
from octavo.core.protocol.config import ConfigError
from octavo.core.registry.registry import get_registry
from PIL import Image

Answer = Callable[[str], Any]


class OddStore:
    """Answers as `answer` does, whatever was written. deleted: the keys that were."""

    answer: Answer = staticmethod(lambda key: None)
    leased: Any = True
    deleted: list[str]

    def __init__(self, url: str) -> None:
        self.deleted = []

    def get(self, key: str) -> Any:
        return type(self).answer(key)

    def set(self, key: str, value: bytes, ttl_seconds: float | None) -> None:
        pass

    def delete(self, key: str) -> None:
        self.deleted.append(key)

    def lease(self, key: str, owner: str, seconds: float) -> Any:
        return type(self).leased

    def release(self, key: str, owner: str) -> None:
        pass

    def close(self) -> None:
        raise OSError("it is closed already")


def failing(error: BaseException) -> Answer:
    def answer(key: str) -> Any:
        raise error

    return answer


def entry(array: np.ndarray, dtype: str = "float32") -> Answer:
    """One that is signed rightly for its key."""
    return lambda key: encode_entry(Features(dtype, array), key, compress=False, secret=None)


def numbers(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


NONSENSE: dict[str, Answer] = {
    "a text": lambda key: "features",
    "a number": lambda key: 7,
    "a list": lambda key: [1.0, 2.0],
    "an array": lambda key: np.ones((4, 4), np.float32),
    "an object": lambda key: object(),
    "no bytes": lambda key: b"",
    "other bytes": lambda key: b"\xff" * 5000,
    "an entry of another key": lambda key: entry(numbers(16, 128))("other"),
    "too few features": entry(numbers(1, 128)),
    "features that are too wide": entry(numbers(64, 4096)),
    "features in another format": entry(np.ones((64, 128), np.float16), "float16"),
    "no numbers": entry(np.full((64, 128), np.nan, np.float32)),
    "an error": failing(KeyError("key")),
    "an error in the words of asyncio": failing(asyncio.CancelledError()),
    "an exit": failing(SystemExit(1)),
}


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    """The demo model with the store."""
    module = ModuleType("octavo_odd_store")
    module.OddStore = OddStore  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    spec = EncoderStoreSpec("odd", ("odd",), f"{module.__name__}:OddStore")
    stores: dict[str, Any] = get_registry().encoder_stores
    stores["odd"] = spec
    engine = LLM(dtype="float32", kv_cache_memory=32 << 20, encoder_cache="odd://")
    yield engine
    engine.close()
    del stores["odd"], sys.modules[module.__name__]


def caption(llm: LLM, picture: Image.Image) -> str:
    parts = [{"type": "image", "image": picture}, {"type": "text", "text": "What is this?"}]
    params = SamplingParams(temperature=0, max_tokens=6)
    return llm.chat([{"role": "user", "content": parts}], params)[0].outputs[0].text


@pytest.mark.parametrize("name", NONSENSE)
def test_a_request_is_answered_all_the_same(
    name: str, llm: LLM, offline: LLM, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OddStore, "answer", staticmethod(NONSENSE[name]))
    # One picture each, so that errors in a row don't have the store left alone.
    assert caption(llm, pictures[0]) == caption(offline, pictures[0])


@pytest.mark.parametrize("name", NONSENSE)
def test_it_is_a_miss_and_said_once(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In another thread, as a server looks for features."""
    monkeypatch.setattr(OddStore, "answer", staticmethod(NONSENSE[name]))
    store = OddStore("odd://")
    tier = StoreTier("odd", store, TierSettings())
    with ThreadPoolExecutor(1) as thread, caplog.at_level(logging.WARNING):
        for key in "abcdef":
            found = thread.submit(find_fitting, tier, key, (64, 128), "float32")
            assert found.result() is None
    assert len(caplog.records) == 1
    assert caplog.records[0].message.startswith("encoder store odd ")
    assert tier.stats.errors == 3 or store.deleted == list("abcdef")


@pytest.mark.parametrize("answer", [None, "yes", object()])
def test_a_lease_that_is_neither_given_nor_refused(
    answer: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Everyone computes, as when a store fails."""
    monkeypatch.setattr(OddStore, "leased", answer)
    tier = StoreTier("odd", OddStore("odd://"), TierSettings())
    assert [tier.lease("a", "me") for _ in range(3)] == [True] * 3
    assert [r.message for r in caplog.records] == [
        f"encoder store odd answered a lease with an object of type {type(answer).__name__}, "
        "not True or False"
    ]
    tier.close()


def test_a_buffer_that_changes_later() -> None:
    """Features are those that were checked, whatever the store does with its memory."""
    held = bytearray(entry(numbers(2, 3))("a"))
    store = OddStore("odd://")
    store.get = lambda key: held  # type: ignore[method-assign]
    found = StoreTier("odd", store, TierSettings()).get("a")
    held[-4:] = b"\0\0\0\0"
    assert found is not None
    assert np.array_equal(found.array, numbers(2, 3))


def test_a_store_that_can_not_be_made_is_named() -> None:
    spec = EncoderStoreSpec("broken", ("broken",), "builtins:divmod")
    with pytest.raises(ConfigError, match=r"'broken' can't be opened: TypeError"):
        open_store("broken://", {"broken": spec})
