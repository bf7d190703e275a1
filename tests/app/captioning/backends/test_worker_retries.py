"""Servers that are busy, broken or away cost no picture, and give none twice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from captioning_tasks import coloured, names, picture_of, question, reader
from octavo.app.captioning.backends import servers
from octavo.app.captioning.backends.chat_answers import retry_after
from octavo.app.captioning.backends.http_workers import MAX_TRIES, HttpWorkers
from octavo.app.captioning.picture import Picture
from octavo.app.captioning.task import Captioned, Failed, Outcome
from octavo.core.protocol.errors import RequestError
from odd_chat_server import Reply, odd_server
from serving import wait_until

NAMES = [f"picture {index}" for index in range(20)]
PICTURES = [picture_of(name, coloured(index)) for index, name in enumerate(NAMES)]
READ = reader(question("{name}"))


@pytest.fixture(autouse=True)
def _without_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "FIRST_PAUSE_S", 0.01)


def run(workers: HttpWorkers) -> list[Outcome]:
    with closing(workers):
        return list(workers.run(PICTURES, READ))


def texts(outcomes: list[Outcome]) -> list[str]:
    """Fails unless all have one."""
    assert all(isinstance(outcome, Captioned) for outcome in outcomes), outcomes
    return [o.answers["caption"].text for o in outcomes if isinstance(o, Captioned)]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(503, {"error": {"message": "loading"}}, {"Retry-After": "0"}),
        Reply(429, None, {"Retry-After": "0"}),
        Reply(503, b"<html>not ready</html>"),
        Reply(500, {"error": {"message": "failed"}}),
        Reply(502),
        Reply(reset=True),
        Reply(200, {"choices": [{"message": {"content": "half"}}]}, cut=True),
        Reply(200, {"choices": [{"message": {"content": "x"}, "finish_reason": "abort"}]}),
        Reply(200, {"object": "something else"}),
    ],
    ids=["503", "429", "page", "500", "502", "reset", "cut", "aborted", "other"],
)
def test_trouble_passes(reply: Reply) -> None:
    """Each third picture meets it once: all are answered, in order, and asked no more often."""

    def behave(text: str, before: int) -> Reply | None:
        return reply if int(text.split()[1]) % 3 == 0 and before == 0 else None

    with odd_server(behave) as server:
        outcomes = run(HttpWorkers([server.address], connections=4))
    assert texts(outcomes) == names(outcomes) == NAMES
    assert len(server.asked) == len(NAMES) + 7
    assert server.most_open <= 4


def test_another_server_is_asked() -> None:
    def break_off(text: str, before: int) -> Reply:
        return Reply(500)

    with odd_server(break_off) as broken, odd_server() as good:
        outcomes = run(HttpWorkers([broken.address, good.address], connections=2))
    assert texts(outcomes) == NAMES
    assert sorted(good.asked) == sorted(NAMES)
    assert max(map(broken.asked.count, NAMES)) == 1


def test_picture_that_breaks_servers_fails_alone() -> None:
    """The server resets its connection, and that of all that are open at the time."""
    bad = NAMES[7]
    with odd_server(lambda text, before: Reply(reset=True) if text == bad else None) as server:
        outcomes = run(HttpWorkers([server.address], connections=4))
    assert names(outcomes) == NAMES
    (failed,) = (outcome for outcome in outcomes if isinstance(outcome, Failed))
    assert failed.picture.name == bad
    assert f"failed {MAX_TRIES} times" in failed.error
    assert server.address in failed.error
    assert server.asked.count(bad) == MAX_TRIES


def test_refused_picture_fails_with_what_the_server_says() -> None:
    param = "messages[0].content[0].image_url"
    error = {"message": f"{param}: the image is truncated", "param": param}
    replies = {NAMES[3]: Reply(400, {"error": error}), NAMES[5]: Reply(413, b"too large")}
    with odd_server(lambda text, before: replies.get(text)) as server:
        outcomes = run(HttpWorkers([server.address]))
    failed = {o.picture.name: o.error for o in outcomes if isinstance(o, Failed)}
    assert failed == {
        NAMES[3]: "the image is truncated",
        NAMES[5]: f"{server.address}/v1: status 413",
    }
    assert len(server.asked) == len(NAMES)


def test_withheld_answer_is_a_failure() -> None:
    choice = {"message": {"content": None}, "finish_reason": "content_filter"}
    with odd_server(lambda text, before: Reply(200, {"choices": [choice]})) as server:
        outcomes = run(HttpWorkers([server.address]))
    assert all("withheld" in o.error for o in outcomes if isinstance(o, Failed))
    assert names(outcomes) == NAMES


def test_server_that_comes_back_gets_work() -> None:
    """It is away at the start; the source waits until it has been seen."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with odd_server() as first:
        workers = HttpWorkers([first.address, f"http://127.0.0.1:{port}"], connections=2)
        with closing(workers):
            assert workers.facts == {"model": "odd"}
            assert workers.progress()["servers"] == 1
            with odd_server(port=port) as second:
                wait_until(lambda: workers.progress()["servers"] == 2)
                assert texts(list(workers.run(PICTURES, READ))) == NAMES
            assert second.asked
            assert sorted(first.asked + second.asked) == sorted(NAMES)


def test_patience_ends() -> None:
    """What was answered before is given; then the servers are named."""
    left = threading.Event()

    def behave(text: str, before: int) -> Reply | None:
        return Reply(503, {"error": {"message": "too much to do"}}) if left.is_set() else None

    with odd_server(behave) as one, odd_server(behave) as other:
        workers = HttpWorkers([one.address, other.address], connections=1, patience=0.3)
        with closing(workers):
            outcomes = workers.run(PICTURES, READ)
            given = [next(outcomes), next(outcomes)]
            left.set()
            with pytest.raises(RequestError, match="no server has answered") as raised:
                given += outcomes
    assert texts(given) == NAMES[: len(given)]
    for server in (one, other):
        assert f"{server.address}/v1: too much to do" in str(raised.value)
    assert "the same command goes on" in str(raised.value)


def test_retry_after_is_kept() -> None:
    """A server that asks for an hour isn't asked again before the job ends."""
    reply = Reply(429, {"error": {"message": "quota"}}, {"Retry-After": "3600"})
    with odd_server(lambda text, before: reply) as server:
        workers = HttpWorkers([server.address], connections=2, patience=0.3)
        with pytest.raises(RequestError, match="quota"):
            run(workers)
    assert len(server.asked) == 2


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after("7") == 7
    assert retry_after("-3") == 0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert (retry_after("Wed, 21 Oct 2099 07:28:00 GMT") or 0) > 10**9
    assert retry_after("soon") is None
    assert retry_after(None) is None


def test_questions_of_a_picture_go_to_one_server_in_turn() -> None:
    prompts = [question(f"{{name}} {kind}", kind) for kind in ("first", "second", "third")]
    with odd_server() as one, odd_server() as other:
        workers = HttpWorkers([one.address, other.address], connections=3)
        with closing(workers):
            outcomes = list(workers.run(PICTURES, reader(*prompts)))
    for name, outcome in zip(NAMES, outcomes, strict=True):
        asked = [f"{name} {kind}" for kind in ("first", "second", "third")]
        assert isinstance(outcome, Captioned)
        assert [answer.text for answer in outcome.answers.values()] == asked
        seen = [[text for text in server.asked if text in asked] for server in (one, other)]
        assert sorted(seen) == [[], asked]
    assert one.asked
    assert other.asked


def test_answers_before_a_break_are_kept() -> None:
    """Only the question that failed is asked again."""
    prompts = [question("{name} a", "a"), question("{name} b", "b")]

    def behave(text: str, before: int) -> Reply | None:
        return Reply(reset=True) if text.endswith("b") and before == 0 else None

    with odd_server(behave) as server, closing(HttpWorkers([server.address])) as workers:
        outcomes = list(workers.run(PICTURES[:1], reader(*prompts)))
    assert [type(outcome) for outcome in outcomes] == [Captioned]
    assert server.asked == ["picture 0 a", "picture 0 b", "picture 0 b"]


def test_source_is_read_no_further_than_a_window() -> None:
    """And what servers have when it is drained is given; the rest is given up."""
    taken: list[str] = []
    released = threading.Event()

    def source() -> Iterator[Picture]:
        for index in range(10_000):
            taken.append(str(index))
            yield picture_of(f"picture {index}", coloured(index))

    def behave(text: str, before: int) -> None:
        if text != "picture 0":
            released.wait(60)

    with odd_server(behave) as server:
        workers = HttpWorkers([server.address], connections=3)
        with closing(workers):
            outcomes = workers.run(source(), READ)
            first = next(outcomes)
            rest: list[Outcome] = []
            thread = threading.Thread(target=lambda: rest.extend(outcomes))
            thread.start()
            wait_until(lambda: server.open == 3)
            workers.drain()
            released.set()
            thread.join()
    assert texts([first, *rest]) == sorted(server.asked)
    assert len(server.asked) == 4
    assert len(taken) <= 7


def test_what_is_left_is_given_up_on_close() -> None:
    released = threading.Event()
    with odd_server(lambda text, before: released.wait(60) and None) as server:
        with closing(HttpWorkers([server.address], connections=3)) as workers:
            outcomes = workers.run(PICTURES, READ)
            thread = threading.Thread(target=lambda: list(outcomes))
            thread.start()
            wait_until(lambda: server.open == 3)
        thread.join()
        released.set()
    assert len(server.asked) == 3
