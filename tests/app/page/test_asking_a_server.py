"""The page's side of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
from octavo.app.page.ask.conversation import Conversation, Turn
from octavo.app.page.server.server_api import AnswerSoFar, ServerApi, ServerError
from octavo.app.page.server.server_status import Condition, ServerStatus, StatusWatch
from scripted_server import Script, scripted_server
from serving import metric, wait_until

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_server() as made:
        yield made


async def ask(server: ServerApi, **fields: Any) -> AnswerSoFar:
    answer = AnswerSoFar()
    async with aclosing(server.ask(HELLO, fields)) as answers:
        async for part in answers:
            answer = part
    return answer


def status_of(address: str) -> ServerStatus:
    async def look() -> ServerStatus:
        server = ServerApi(address)
        try:
            return await StatusWatch(server).look()
        finally:
            await server.close()

    return asyncio.run(look())


@pytest.mark.parametrize("knows", [True, False])
def test_a_server_need_not_know_of_timings(script: Script, knows: bool) -> None:
    async def twice() -> list[AnswerSoFar]:
        server = ServerApi(script.address)
        answers = [await ask(server), await ask(server)]
        await server.close()
        return answers

    script.knows_timings = knows
    script.timings = {"queue_ms": 1.0} if knows else {}
    answers = asyncio.run(twice())
    assert [answer.text for answer in answers] == ["Yes.", "Yes."]
    assert [answer.timings for answer in answers] == [script.timings] * 2
    # One that refuses the field is asked with it once.
    with_it = ["include_timings" in body for body in script.asked]
    assert with_it == ([True, True] if knows else [True, False, False])


def test_other_refusals_stay(script: Script) -> None:
    async def refused() -> None:
        server = ServerApi(script.address + "/elsewhere")
        try:
            await ask(server)
        finally:
            await server.close()

    with pytest.raises(ServerError, match="no such endpoint") as caught:
        asyncio.run(refused())
    assert caught.value.status == 404


def test_servers_that_are_not_ready(script: Script) -> None:
    script.loading = True
    seen = status_of(script.address)
    assert (seen.condition, seen.says) == (Condition.LOADING, "scripted is loading")
    script.loading, script.models = False, []
    assert status_of(script.address).condition is Condition.REFUSING
    assert status_of("http://127.0.0.1:9").condition is Condition.UNREACHABLE


def test_stopping_ends_the_request_at_the_server(demo_server: str) -> None:
    async def begin_and_stop() -> Turn:
        server, talk, turn = ServerApi(demo_server), Conversation(), Turn("Hello")
        without_end = {"ignore_eos": True, "max_tokens": 2000}
        async with aclosing(talk.go_on(server, turn, "", without_end)) as watched:
            await anext(watched)
            assert metric(demo_server, "num_requests_running") == 1
            talk.stop()
            await anext(watched)
        await server.close()
        return turn

    aborted = 'request_success_total{finished_reason="abort"}'
    before = metric(demo_server, aborted)
    turn = asyncio.run(begin_and_stop())
    assert turn.stopped
    assert turn.answer.text
    assert turn.answer.finish_reason is None
    wait_until(lambda: metric(demo_server, aborted) == before + 1)
    wait_until(lambda: metric(demo_server, "num_requests_running") == 0)


def test_history_is_what_was_answered(script: Script) -> None:
    async def talk_on() -> None:
        server, talk = ServerApi(script.address), Conversation()
        for text, breaks in (("one", False), ("two", True), ("three", False)):
            script.breaks_off = breaks
            async with aclosing(talk.go_on(server, Turn(text), "Be brief.", {})) as watched:
                async for _ in watched:
                    pass
        assert [bool(turn.fault) for turn in talk.turns] == [False, True, False]
        await server.close()

    asyncio.run(talk_on())
    last = script.asked[-1]["messages"]
    assert [message["role"] for message in last] == ["system", "user", "assistant", "user"]
    assert last[0]["content"] == "Be brief."
    assert last[2]["content"] == "Yes."
    assert last[3]["content"][0]["text"] == "three"
