"""The pool that tokenises prompts: turns between clients, bounds, and work nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from octavo.app.http.errors import engine_error_body
from octavo.app.serving import prompt_pool
from octavo.app.serving.prompt_pool import PromptPool
from octavo.core.protocol.errors import TooManyPromptsError


class Recorder:
    """Work that notes that it was begun, and ends when `gate` is open."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.gate = threading.Event()

    def work(self, name: str) -> Callable[[], str]:
        def run() -> str:
            self.begun.append(name)
            assert self.gate.wait(60)
            return name

        return run


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def run(test: Callable[[PromptPool, Recorder], Awaitable[None]], pool: PromptPool) -> None:
    recorder = Recorder()
    try:
        asyncio.run(asyncio.wait_for(test(pool, recorder), 120))
    finally:
        recorder.gate.set()
        pool.close()


def test_a_client_is_next_whatever_another_has_queued() -> None:
    async def test(pool: PromptPool, recorder: Recorder) -> None:
        many = [asyncio.create_task(pool.run("a", 1, recorder.work(f"a{i}"))) for i in range(100)]
        await until(lambda: len(recorder.begun) == 1)
        # The other thread is kept for other clients.
        polite = asyncio.create_task(pool.run("b", 1, recorder.work("b0")))
        await until(lambda: len(recorder.begun) == 2)
        assert recorder.begun == ["a0", "b0"]
        third = asyncio.create_task(pool.run("c", 1, recorder.work("c0")))
        await asyncio.sleep(0)
        recorder.gate.set()
        assert await polite == "b0"
        assert await third == "c0"
        assert await asyncio.gather(*many) == [f"a{i}" for i in range(100)]
        assert recorder.begun.index("c0") <= 4, "it waited for more than each client's turn"
        assert [name for name in recorder.begun if name[0] == "a"] == [f"a{i}" for i in range(100)]

    run(test, PromptPool(num_threads=2))


def test_what_nobody_waits_for_is_not_begun() -> None:
    async def test(pool: PromptPool, recorder: Recorder) -> None:
        first = asyncio.create_task(pool.run("a", 1, recorder.work("first")))
        await until(lambda: recorder.begun == ["first"])
        left = [asyncio.create_task(pool.run("a", 1, recorder.work("left"))) for _ in range(20)]
        last = asyncio.create_task(pool.run("a", 1, recorder.work("last")))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.run("a", 1, recorder.work("late")), 0)
        await asyncio.sleep(0)
        for task in left:
            task.cancel()
        recorder.gate.set()
        assert (await first, await last) == ("first", "last")
        assert recorder.begun == ["first", "last"]

    run(test, PromptPool(num_threads=1))


def test_leaving_while_it_runs_keeps_the_thread_until_it_ends() -> None:
    async def test(pool: PromptPool, recorder: Recorder) -> None:
        first = asyncio.create_task(pool.run("a", 1, recorder.work("first")))
        await until(lambda: recorder.begun == ["first"])
        first.cancel()
        second = asyncio.create_task(pool.run("a", 1, recorder.work("second")))
        for _ in range(20):
            await asyncio.sleep(0)
        assert first.cancelled()
        assert recorder.begun == ["first"]
        recorder.gate.set()
        assert await second == "second"

    run(test, PromptPool(num_threads=1))


def test_too_much_text_is_refused_to_who_has_most_waiting() -> None:
    async def test(pool: PromptPool, recorder: Recorder) -> None:
        async def ask(client: str, num_bytes: int) -> int:
            try:
                await pool.run(client, num_bytes, recorder.work(client))
            except TooManyPromptsError as error:
                return engine_error_body(error)[0]
            return 200

        # The first runs; three of the others may wait.
        large = [asyncio.create_task(ask("a", 30)) for _ in range(6)]
        await until(lambda: all(task.done() for task in large[4:]))
        polite = asyncio.create_task(ask("b", 20))
        await until(large[3].done)
        recorder.gate.set()
        assert await polite == 200
        assert await asyncio.gather(*large) == [200, 200, 200, 429, 429, 429]

    run(test, PromptPool(num_threads=1, max_waiting_bytes=100))


def test_one_that_is_larger_than_all_that_may_wait_runs_alone() -> None:
    async def test(pool: PromptPool, recorder: Recorder) -> None:
        recorder.gate.set()
        assert await pool.run("a", 1000, recorder.work("large")) == "large"

    run(test, PromptPool(num_threads=1, max_waiting_bytes=100))


def test_errors_are_told_and_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[None] = []
    monkeypatch.setattr(prompt_pool, "return_freed_memory", lambda: given_back.append(None))

    async def test(pool: PromptPool, recorder: Recorder) -> None:
        def fail() -> None:
            raise KeyError("no such thing")

        with pytest.raises(KeyError, match="no such thing"):
            await pool.run("a", 2**20, fail)
        recorder.gate.set()
        for size in (10, 2**20):
            await pool.run("a", size, recorder.work("a"))
        assert len(given_back) == 2, "after large prompts alone"

    run(test, PromptPool())
