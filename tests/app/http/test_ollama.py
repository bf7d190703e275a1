"""Ollama's API by its own client: the answers of chats and completions, in another shape."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Literal

import httpx
import pytest
from octavo import __version__
from octavo.app.http.error_shapes import ollama_error
from octavo.app.http.event_stream import until_failed
from octavo.app.http.ollama.chat_messages import OllamaMessages
from octavo.app.http.ollama.model_names import check_name, with_tag
from octavo.core.protocol.errors import EngineDeadError
from octavo.core.protocol.request_error import RequestError
from ollama import AsyncClient, Client, ResponseError
from PIL import Image
from pydantic import BaseModel
from serving import chat
from starlette.requests import Request

MODEL = "octavo-demo"
QUESTION = "What can you do?"
ASKED: list[Any] = [{"role": "user", "content": QUESTION}]
GREEDY: dict[str, Any] = {"temperature": 0, "num_predict": 40}


class Animal(BaseModel, extra="forbid"):
    """One of two."""

    name: Literal["cat", "dog"]
    old: bool


@pytest.fixture(scope="module")
def llama(demo_server: str) -> Iterator[Client]:
    with Client(demo_server) as client:
        yield client


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (50, 40), "red").save(file, "PNG")
    return file.getvalue()


def answered(base: str, messages: list[Any], **fields: Any) -> tuple[str, int, int]:
    """The text that a chat gives, and its tokens in and out."""
    given = {"temperature": 0, "max_tokens": 40, **fields}
    body = chat(base, messages=messages, **given).json()
    usage = body["usage"]
    text: str = body["choices"][0]["message"]["content"]
    return text, usage["prompt_tokens"], usage["completion_tokens"]


def shape(answer: Any) -> tuple[str, int, int]:
    """The same of an answer here."""
    text = answer.response if hasattr(answer, "response") else answer.message.content
    return text, answer.prompt_eval_count, answer.eval_count


@pytest.mark.parametrize("model", [MODEL, f"{MODEL}:latest"])
def test_the_answer_of_a_chat(llama: Client, demo_server: str, model: str) -> None:
    answer = llama.chat(model, ASKED, options=GREEDY, keep_alive="5m")
    assert shape(answer) == answered(demo_server, ASKED)
    assert (answer.model, answer.done, answer.done_reason) == (model, True, "stop")
    assert answer.message.role == "assistant"
    assert answer.message.thinking is None
    durations = (answer.prompt_eval_duration, answer.eval_duration)
    assert all(isinstance(time, int) and time > 0 for time in durations)
    assert answer.total_duration >= sum(durations)  # type: ignore[operator]
    said = llama.generate(model, QUESTION, options=GREEDY)
    assert shape(said) == shape(answer)


def test_system_and_images(llama: Client, demo_server: str) -> None:
    """Images stand before the text."""
    data = picture()
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    expected = answered(
        demo_server,
        [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": url}},
                    {"type": "text", "text": "What is this?"},
                ],
            },
        ],
    )
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this?", "images": [data]},
    ]
    assert shape(llama.chat(MODEL, messages, options=GREEDY)) == expected
    said = llama.generate(MODEL, "What is this?", system="Be brief.", images=[data], options=GREEDY)
    assert shape(said) == expected


def test_streams(llama: Client, demo_server: str) -> None:
    expected = answered(demo_server, ASKED)
    for lines in (
        list(llama.chat(MODEL, ASKED, stream=True, options=GREEDY)),
        list(llama.generate(MODEL, QUESTION, stream=True, options=GREEDY)),
    ):
        assert len(lines) > 4
        assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
        texts = [shape(line)[0] for line in lines]
        assert ("".join(texts), *shape(lines[-1])[1:]) == expected
        assert texts[-1] == ""
        assert lines[-1].done_reason == "stop"


def test_two_at_once(demo_server: str) -> None:
    async def asked() -> list[str]:
        client = AsyncClient(demo_server)
        both = [client.chat(MODEL, ASKED, options=GREEDY) for _ in range(2)]
        answers = [shape(answer)[0] for answer in await asyncio.gather(*both)]
        await client.close()
        return answers

    first, second = asyncio.run(asked())
    assert first == second == answered(demo_server, ASKED)[0]


def test_lines_are_streamed_unless_it_is_said(demo_server: str) -> None:
    body = {"model": MODEL, "messages": ASKED, "options": GREEDY}
    answer = httpx.post(f"{demo_server}/api/chat", json=body, timeout=240)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert len([json.loads(line) for line in answer.text.splitlines()]) > 4
    answer = httpx.post(f"{demo_server}/api/chat", json={**body, "stream": False}, timeout=240)
    assert answer.json()["done"] is True


def test_a_raw_prompt_is_gone_on_with(llama: Client, demo_server: str) -> None:
    body = {"prompt": "The dog", "max_tokens": 9, "temperature": 0}
    expected = httpx.post(f"{demo_server}/v1/completions", json=body, timeout=240).json()
    options = {"temperature": 0, "num_predict": 9}
    said = llama.generate(MODEL, "The dog", raw=True, options=options)
    assert shape(said)[0] == expected["choices"][0]["text"]
    assert (said.prompt_eval_count, said.done_reason) == (
        expected["usage"]["prompt_tokens"],
        "length",
    )
    lines = list(llama.generate(MODEL, "The dog", raw=True, stream=True, options=options))
    assert "".join(shape(line)[0] for line in lines) == shape(said)[0]
    with pytest.raises(ResponseError, match="system can't be joined with raw"):
        llama.generate(MODEL, "The dog", raw=True, system="Be brief.")


def test_an_answer_goes_on_with_the_assistants_words(llama: Client, demo_server: str) -> None:
    messages: list[Any] = [*ASKED, {"role": "assistant", "content": "I can tell"}]
    options = {"continue_final_message": True, "add_generation_prompt": False}
    expected = answered(demo_server, messages, **options)
    assert shape(llama.chat(MODEL, messages, options=GREEDY)) == expected


@pytest.mark.parametrize("raw", [False, True])
def test_answers_have_their_form(llama: Client, raw: bool) -> None:
    options = {"num_predict": 300}
    schema = Animal.model_json_schema()
    said = llama.generate(MODEL, QUESTION, format=schema, raw=raw, options=options)
    Animal.model_validate_json(said.response)  # type: ignore[arg-type]
    told = llama.chat(MODEL, ASKED, format=schema, options=options)
    Animal.model_validate_json(told.message.content)  # type: ignore[arg-type]
    begun = llama.chat(MODEL, ASKED, format="json", options={"num_predict": 1})
    assert begun.message.content.strip() in ("", "{", "{}", '{"')  # type: ignore[union-attr]


def test_log_probabilities_are_those_of_a_chat(llama: Client, demo_server: str) -> None:
    body = chat(
        demo_server, QUESTION, logprobs=True, top_logprobs=2, temperature=0, max_tokens=9
    ).json()
    expected = [
        (entry["token"], entry["logprob"], [(top["token"], top["logprob"]) for top in top_two])
        for entry in body["choices"][0]["logprobs"]["content"]
        for top_two in [entry["top_logprobs"]]
    ]
    asked: Any = {"logprobs": True, "top_logprobs": 2, "options": {**GREEDY, "num_predict": 9}}
    whole = llama.chat(MODEL, ASKED, **asked)
    streamed = list(llama.chat(MODEL, ASKED, stream=True, **asked))
    told = [entry for line in streamed for entry in line.logprobs or ()]
    for entries in (whole.logprobs, told):
        assert [
            (entry.token, entry.logprob, [(top.token, top.logprob) for top in entry.top_logprobs])
            for entry in entries or ()
        ] == expected


def test_a_limit_and_the_context_end_answers(llama: Client) -> None:
    assert llama.chat(MODEL, ASKED, options={"num_predict": 3}).done_reason == "length"
    assert llama.chat(MODEL, ASKED, options={**GREEDY, "num_predict": 9999}).done_reason == "stop"
    number: Any = {"type": "string", "minLength": 9999}
    for options in ({}, {"num_predict": -1}):
        said = llama.generate(MODEL, "a b " * 1000, raw=True, format=number, options=options)
        assert said.done_reason == "length"
        assert shape(said)[1] + shape(said)[2] == 2048


def test_what_is_empty_has_the_model_loaded(llama: Client) -> None:
    for answer in (llama.chat(MODEL), llama.generate(MODEL, keep_alive=0)):
        assert (answer.done, answer.done_reason, answer.eval_count) == (True, "load", None)


def test_models_are_told_of(llama: Client, demo_server: str) -> None:
    (listed,) = llama.list().models
    (loaded,) = llama.ps().models
    assert listed.model == loaded.model == f"{MODEL}:latest"
    assert listed.digest == loaded.digest
    assert loaded.context_length == 2048
    for name in (MODEL, f"{MODEL}:latest"):
        told = llama.show(name)
        assert told.capabilities == ["completion", "vision"]
        assert told.modelinfo == {
            "general.architecture": "octavo",
            "octavo.context_length": 2048,
        }
        assert "<|assistant|>" in told.template  # type: ignore[operator]
    assert httpx.get(f"{demo_server}/api/version").json() == {"version": __version__}
    assert httpx.post(f"{demo_server}/api/show", json={"name": MODEL}).status_code == 200
    assert httpx.post(f"{demo_server}/api/show", json={}).json()["error"].startswith("model is")
    refused = httpx.post(f"{demo_server}/api/show", json={"model": MODEL, "system": "x"}).json()
    assert refused["error"].startswith("system is not honoured here")


def test_names_have_tags_or_not() -> None:
    check_name("org/model", "org/model:latest")
    check_name("model:4b", "model:4b")
    assert with_tag("host:80/model") == "host:80/model:latest"
    for name in ("model", "model:8b", "org/model:4b"):
        with pytest.raises(Exception, match="not found; served here: 'model:4b'"):
            check_name(name, "model:4b")


def test_no_other_models_are_got(llama: Client, demo_server: str) -> None:
    for ask in (
        lambda: llama.pull("llama3"),
        lambda: list(llama.pull("llama3", stream=True)),
        lambda: llama.push("llama3"),
        lambda: llama.create("mine", from_=MODEL),
        lambda: llama.copy(MODEL, "mine"),
        lambda: llama.delete(MODEL),
    ):
        with pytest.raises(
            ResponseError, match="the server has one model, 'octavo-demo'"
        ) as raised:
            ask()
        assert raised.value.status_code == 501
    unknown = httpx.post(f"{demo_server}/api/zzz")
    assert (unknown.status_code, list(unknown.json())) == (404, ["error"])
    with pytest.raises(ResponseError, match="'octavo-demo' gives no embeddings"):
        llama.embed(MODEL, "a")


IMAGE = {"role": "user", "content": "a", "images": ["AAAA"]}
CALL = {"function": {"name": "f", "arguments": {}}}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": "zzz"}, "model 'zzz' not found"),
        ({"messages": [1]}, "messages[0] must be"),
        ({"messages": [{"role": "developer", "content": "a"}]}, "messages[0].role must be one of"),
        ({"messages": [{**IMAGE, "zzz": 1}]}, "messages[0].zzz is no field"),
        ({"messages": [{**IMAGE, "images": [1]}]}, "messages[0].images[0] must be a picture"),
        ({"messages": [*ASKED, IMAGE]}, "messages[1].images[0]"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [1]}]},
            "messages[0].tool_calls[0] must",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": 1}}]}
                ]
            },
            "messages[0].tool_calls[0].function.name must",
        ),
        ({"tools": [{"function": {"name": "f"}}]}, "tools: the model's chat template"),
        ({"tools": [{"function": {"name": "f", "zzz": 1}}]}, "tools[0].function.zzz is no field"),
        (
            {"tools": [{"function": {"name": "f"}}], "format": "json"},
            "can't be joined with format:",
        ),
        ({"think": True}, "think: model 'octavo-demo' does not think"),
        ({"think": "high"}, "Expected `bool | null`, got `str` - at `think`"),
        ({"format": {"type": "zzz"}}, "format"),
        ({"format": "xml"}, "`format`"),
        ({"options": {"num_predict": 0}}, "options.num_predict must be at least 1"),
        ({"options": {"repeat_penalty": 0}}, "options.repeat_penalty must be"),
        ({"options": {"top_p": 2}}, "options.top_p must be"),
        ({"options": {"stop": ["a"] * 65}}, "options.stop has 65 strings"),
        ({"options": {"mirostat": 1}}, "options.mirostat can only be 0"),
        ({"options": {"zzz": 1}}, "options.zzz is no field"),
        ({"top_logprobs": 2}, "top_logprobs needs logprobs"),
    ],
)
def test_what_is_wrong_is_named(demo_server: str, fields: dict[str, Any], said: str) -> None:
    body = {"model": MODEL, "messages": ASKED, **fields}
    answer = httpx.post(f"{demo_server}/api/chat", json=body, timeout=240)
    assert answer.status_code == (404 if "model" in fields else 400)
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


def test_errors_of_a_prompt_name_it(llama: Client) -> None:
    with pytest.raises(ResponseError, match=r"^images\[1\]") as raised:
        llama.generate(MODEL, "a", images=[picture(), b"AAA"])
    assert raised.value.status_code == 400
    for raw in (False, True):
        with pytest.raises(ResponseError, match="with prompt the request"):
            llama.generate(MODEL, "a" * 10**6, raw=raw)
    with pytest.raises(ResponseError, match="with system the request"):
        llama.generate(MODEL, "a", system="a" * 10**6)
    with pytest.raises(ResponseError, match=r"options\.top_k must be"):
        list(llama.generate(MODEL, "a", raw=True, stream=True, options={"top_k": -2}))


def test_a_stream_that_fails_says_so() -> None:
    async def lines() -> AsyncGenerator[bytes]:
        yield b"{}\n"
        raise EngineDeadError("the engine died")

    async def gathered() -> bytes:
        request = Request({"type": "http", "path": "/api/chat"})
        told = until_failed(request, lines(), lambda _, e: json.dumps(ollama_error(e)).encode())
        return b"".join([part async for part in told])

    assert json.loads(asyncio.run(gathered()).splitlines()[-1]) == {"error": "the engine died"}


def test_messages_become_a_chat_s() -> None:
    call = {"function": {"name": "f", "arguments": {"x": 1}}}
    messages = OllamaMessages(
        [
            {"role": "user", "content": "a", "images": ["AAAA"]},
            {
                "role": "assistant",
                "content": "",
                "thinking": "Hm.",
                "tool_calls": [call, {**call, "function": {**call["function"], "name": "g"}}],
            },
            {"role": "tool", "tool_name": "g", "content": "2"},
            {"role": "tool", "content": "1"},
        ]
    )

    def called(call_id: str, name: str) -> dict[str, Any]:
        function = {"name": name, "arguments": {"x": 1}}
        return {"id": call_id, "type": "function", "function": function}

    image = {"type": "image_url", "image_url": {"url": "data:image/*;base64,AAAA"}}
    assert messages.messages == [
        {"role": "user", "content": [image, {"type": "text", "text": "a"}]},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "Hm.",
            "tool_calls": [called("call00000", "f"), called("call00001", "g")],
        },
        {"role": "tool", "content": "2", "tool_call_id": "call00001", "name": "g"},
        {"role": "tool", "content": "1", "tool_call_id": "call00000", "name": "f"},
    ]
    assert not messages.go_on
    for place, expected in {
        "messages[0].content[0].image_url": "messages[0].images[0]",
        "messages[0].content[1]": "messages[0].content",
        "messages[1].reasoning_content": "messages[1].thinking",
        "max_tokens": "options.num_predict",
        "repetition_penalty": "options.repeat_penalty",
        "response_format.json_schema.schema.type": "format.type",
        "tools[0].function.name": "tools[0].function.name",
    }.items():
        error = messages.named(RequestError(f"{place} is wrong", place))
        assert (str(error), error.param) == (f"{expected} is wrong", expected)
