"""What servers must be before a job begins, what they are asked, and with which key."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from captioning_tasks import coloured, names, picture_of, question, reader
from octavo.app.captioning.backends import servers
from octavo.app.captioning.backends.chat_requests import request_body
from octavo.app.captioning.backends.http_workers import HttpWorkers
from octavo.app.captioning.task import Captioned, Failed, Question
from octavo.core.protocol.constraints.structured_outputs import StructuredOutputsParams
from octavo.core.protocol.errors import RequestError
from odd_chat_server import OddServer, Reply, odd_server

PICTURE = picture_of("picture", coloured(0))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "FIRST_PAUSE_S", 0.01)
    for name in ("OCTAVO_WORKERS_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def server() -> Iterator[OddServer]:
    with odd_server() as odd:
        yield odd


def start(*addresses: str, model: str | None = None) -> str:
    """The model's name."""
    with closing(HttpWorkers(addresses, model, patience=0.3)) as workers:
        workers.start()
        return str(workers.facts["model"])


def test_different_models_are_named() -> None:
    with odd_server() as one, odd_server(lambda text, before: None, "other") as other:
        with pytest.raises(RequestError, match="has other, and not odd") as raised:
            start(one.address, other.address)
        assert one.address in str(raised.value)
        assert other.address in str(raised.value)


def test_model_among_several() -> None:
    with odd_server(lambda text, before: None, "base", "tuned") as server:
        with pytest.raises(RequestError, match="has base, tuned; name one model by --model"):
            start(server.address)
        assert start(server.address, model="tuned") == "tuned"
        with pytest.raises(RequestError, match="has base, tuned, and not tunde"):
            start(server.address, model="tunde")


def test_server_without_a_list_of_models() -> None:
    with odd_server(listing=Reply(404)) as server:
        assert start(server.address, model="mine") == "mine"
        with pytest.raises(RequestError, match="no list of models"):
            start(server.address)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(401, {"error": {"message": "bad key"}}), "OCTAVO_WORKERS_API_KEY.*bad key"),
        (Reply(403), "no permission"),
        (Reply(301, None, {"Location": "https://example.com/v1"}), "moved to https://example.com"),
        (Reply(200, b"<html>a web site</html>"), "such as /v1"),
    ],
)
def test_refusing_server_ends_the_job_at_once(reply: Reply, message: str) -> None:
    with odd_server(listing=reply) as server, pytest.raises(RequestError, match=message) as raised:
        start(server.address, model="odd")
    assert server.address in str(raised.value)


def test_nobody_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(RequestError, match=f"{address}/v1: it can't be reached"):
            start(address)


def test_server_that_loads_is_waited_for() -> None:
    loading = Reply(503, {"error": {"message": "odd is loading"}}, {"Retry-After": "2"})
    with odd_server(listing=loading) as server:
        with pytest.raises(RequestError, match="odd is loading"):  # and out of patience
            start(server.address)
        looks = iter([loading, loading, Reply(200, {"data": [{"id": "odd"}]})])
        type(server).models = property(lambda self: next(looks), lambda self, value: None)  # type: ignore[attr-defined]
        try:
            assert start(server.address) == "odd"
        finally:
            del type(server).models


@pytest.mark.parametrize(
    ("addresses", "message"),
    [
        ([], "at least one"),
        (["host:8000"], "must begin with http"),
        (["http://"], "must begin with http"),
        (["http://host:port"], "is no address"),
        (["http://user:secret@host"], "OCTAVO_WORKERS_API_KEY"),
        (["http://host/v1?key=1"], "must end with a path"),
        (["http://host", "http://host/v1/"], "named twice"),
    ],
)
def test_what_is_no_address(addresses: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message) as raised:
        HttpWorkers(addresses)
    assert "secret" not in str(raised.value)


def test_key_comes_from_the_environment(server: OddServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.keys.clear()
    start(server.address)
    monkeypatch.setenv("OPENAI_API_KEY", "second")
    start(server.address)
    monkeypatch.setenv("OCTAVO_WORKERS_API_KEY", "first\n")
    start(server.address)
    assert server.keys == {None, "Bearer second", "Bearer first"}
    monkeypatch.setenv("OCTAVO_WORKERS_API_KEY", "two\nlines")
    with pytest.raises(RequestError, match="OCTAVO_WORKERS_API_KEY holds") as raised:
        start(server.address)
    assert "two" not in str(raised.value)


def test_what_is_sent(server: OddServer) -> None:
    """The fields of the API, and those beyond it that this kind of server has."""
    asked = question("{name}?", seed=7, top_k=5, stop=("\n",), n=1)
    server.bodies.clear()
    with closing(HttpWorkers([server.address])) as workers:
        outcomes = list(workers.run([PICTURE], reader(asked)))
    assert names(outcomes) == ["picture"]
    (body,) = server.bodies
    ((shown, text),) = (message["content"] for message in body.pop("messages"))
    assert body == {
        "model": "odd",
        "temperature": 0.0,
        "max_tokens": 8,
        "seed": 7,
        "top_k": 5,
        "stop": ["\n"],
    }
    assert text == {"type": "text", "text": "picture?"}
    assert shown["image_url"]["url"].startswith("data:image/png;base64,")


def test_a_schema_is_sent_as_the_api_has_it(server: OddServer) -> None:
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    form = StructuredOutputsParams(json=schema)
    server.bodies.clear()
    with closing(HttpWorkers([server.address])) as workers:
        list(workers.run([PICTURE], reader(replace(question(), form=form))))
    (body,) = server.bodies
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "caption", "strict": True, "schema": schema},
    }


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (question(logprobs=3), "logprobs"),
        (question(n=2), "n"),
        (question(bad_words_ids=((1,),)), "bad_words_ids"),
        (Question("caption", question().messages, {}, ("a", "b")), "choices"),
    ],
)
def test_what_servers_do_not_honour_ends_the_job(
    server: OddServer, asked: Question, name: str
) -> None:
    before = len(server.asked)
    with (
        closing(HttpWorkers([server.address])) as workers,
        pytest.raises(RequestError, match=name),
    ):
        list(workers.run([PICTURE], reader(asked)))
    assert len(server.asked) == before


def test_unknown_kind_of_server_gets_fields_of_the_api_only() -> None:
    with odd_server(owner="somebody") as server, closing(HttpWorkers([server.address])) as workers:
        with pytest.raises(RequestError, match=r"somebody.* is not known to honour top_k"):
            list(workers.run([PICTURE], reader(question(top_k=5))))
        (outcome,) = workers.run([PICTURE], reader(question(top_p=0.5)))
    assert isinstance(outcome, Captioned)


def test_question_that_is_no_text_is_a_failure(server: OddServer) -> None:
    """As of a file's name that is not UTF-8."""
    pictures = [picture_of(name, coloured(0)) for name in ("caf\udce9", "café")]
    with closing(HttpWorkers([server.address])) as workers:
        failed, captioned = workers.run(pictures, reader(question("{name}")))
    assert isinstance(failed, Failed)
    assert failed.error.startswith("what is asked is no text")
    assert isinstance(captioned, Captioned)
    assert captioned.answers["caption"].text == "café"


def test_newer_name_of_max_tokens_where_the_older_is_refused() -> None:
    body = request_body(question(), [], "gpt", "https://api.openai.com/v1", "openai")
    assert json.loads(body)["max_completion_tokens"] == 8
    assert "max_tokens" not in json.loads(body)
