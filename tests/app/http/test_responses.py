"""POST /v1/responses by OpenAI's own client: the answers of chats, in another shape."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any, Literal

import httpx
import msgspec
import pytest
from octavo.app.http.event_stream import until_failed
from octavo.app.http.responses.conversation import read_conversation
from octavo.app.http.responses.responses_request import ResponsesRequest
from octavo.app.serving.response_store import ResponseStore, StoredResponse
from octavo.core.protocol.errors import RequestError, RequestTimeoutError
from openai import BadRequestError, NotFoundError, OpenAI
from PIL import Image
from pydantic import BaseModel
from serving import chat, wait_until
from starlette.requests import Request

MODEL = "octavo-demo"
QUESTION = "What can you do?"
GREEDY: dict[str, Any] = {"temperature": 0, "max_output_tokens": 40}


class Animal(BaseModel):
    """One of two."""

    name: Literal["cat", "dog"]
    old: bool


@pytest.fixture(scope="module")
def url(demo_server: str) -> str:
    return demo_server


def post(base: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{base}/v1/responses", json={"input": "Hello", **fields}, timeout=240)


def picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (50, 40), "red").save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def answered(base: str, messages: list[Any], **fields: Any) -> tuple[str, dict[str, int]]:
    """The text and the tokens that a chat gives."""
    given = {"temperature": 0, "max_tokens": 40, **fields}
    body = chat(base, messages=messages, **given).json()
    return body["choices"][0]["message"]["content"], body["usage"]


def test_the_answer_of_a_chat(client: OpenAI, url: str) -> None:
    response = client.responses.create(
        model=MODEL, input=QUESTION, metadata={"a": "b"}, user="me", **GREEDY
    )
    text, usage = answered(url, [{"role": "user", "content": QUESTION}])
    assert response.output_text == text
    assert (response.object, response.status, response.error) == ("response", "completed", None)
    assert response.id.startswith("resp_")
    assert (response.metadata, response.temperature) == ({"a": "b"}, 0)
    (item,) = response.output
    assert (item.type, item.status) == ("message", "completed")
    assert response.usage is not None
    assert response.usage.input_tokens == usage["prompt_tokens"]
    assert response.usage.output_tokens == usage["completion_tokens"]
    assert response.usage.total_tokens == usage["total_tokens"]
    assert response.usage.output_tokens_details.reasoning_tokens == 0


def test_items_instructions_and_images(client: OpenAI, url: str) -> None:
    image = picture()
    given: Any = [
        {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        {"type": "message", "role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hello!"}]},
        {
            "role": "user",
            "content": [
                {"type": "input_image", "image_url": image, "detail": "auto"},
                {"type": "input_text", "text": "What is this?"},
            ],
        },
    ]
    response = client.responses.create(model=MODEL, instructions="Be brief.", input=given, **GREEDY)
    text, usage = answered(
        url,
        [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hello!"},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": image}},
                    {"type": "text", "text": "What is this?"},
                ],
            },
        ],
    )
    assert (response.output_text, response.instructions) == (text, "Be brief.")
    assert response.usage is not None
    assert response.usage.input_tokens == usage["prompt_tokens"]


def test_a_stream_tells_events_in_order(client: OpenAI) -> None:
    expected = client.responses.create(model=MODEL, input=QUESTION, **GREEDY)
    events = list(client.responses.create(model=MODEL, input=QUESTION, stream=True, **GREEDY))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    deltas: Any = events[4:-4]
    assert len(deltas) > 3
    assert "".join(event.delta for event in deltas) == expected.output_text
    done: Any = events[-4:]
    assert done[0].text == done[1].part.text == done[2].item.content[0].text == expected.output_text
    assert len({event.item_id for event in deltas} | {done[0].item_id, done[2].item.id}) == 1
    assert done[3].response.output_text == expected.output_text
    assert done[3].response.usage.output_tokens == expected.usage.output_tokens  # type: ignore[union-attr]
    created: Any = events[0]
    assert (created.response.status, created.response.output) == ("in_progress", [])


def test_log_probabilities_are_those_of_a_chat(client: OpenAI, url: str) -> None:
    asked: Any = {"model": MODEL, "input": QUESTION, "top_logprobs": 2, **GREEDY}
    asked["include"] = ["message.output_text.logprobs"]
    response = client.responses.create(**asked)
    body = chat(url, QUESTION, logprobs=True, top_logprobs=2, temperature=0, max_tokens=40).json()
    expected = body["choices"][0]["logprobs"]["content"]
    (item,) = response.to_dict()["output"]  # type: ignore[misc]
    assert item["content"][0]["logprobs"] == expected
    events = list(client.responses.create(stream=True, **asked))
    told: list[Any] = []
    for event in events:
        if event.type == "response.output_text.delta":
            told += [entry.to_dict() for entry in event.logprobs]
        if event.type == "response.output_text.done":
            assert [entry.to_dict() for entry in event.logprobs] == expected
    # The token that ended the answer adds no text.
    assert told == expected[:-1]


def test_events_have_their_names(url: str) -> None:
    answer = post(url, stream=True, **GREEDY)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    for block in answer.text.strip().split("\n\n"):
        name, data = block.split("\n")
        assert name == f"event: {json.loads(data.removeprefix('data: '))['type']}"


def test_the_sdk_gathers_a_stream(client: OpenAI) -> None:
    expected = client.responses.create(model=MODEL, input=QUESTION, **GREEDY)
    with client.responses.stream(model=MODEL, input=QUESTION, **GREEDY) as stream:
        kinds = Counter(event.type for event in stream)
        final = stream.get_final_response()
    assert kinds["response.completed"] == 1
    assert final.output_text == expected.output_text


@pytest.mark.parametrize("stream", [False, True])
def test_pydantic_models_are_parsed(client: OpenAI, stream: bool) -> None:
    asked: Any = {"model": MODEL, "input": QUESTION, "text_format": Animal, "temperature": 0}
    if stream:
        with client.responses.stream(**asked) as events:
            response = events.get_final_response()
    else:
        response = client.responses.parse(**asked)
    assert isinstance(response.output_parsed, Animal)
    assert response.text is not None
    assert response.text.format is not None
    assert response.text.format.type == "json_schema"


def test_an_answer_that_is_cut_is_incomplete(client: OpenAI) -> None:
    asked: Any = {"model": MODEL, "input": QUESTION, "temperature": 0, "max_output_tokens": 3}
    response = client.responses.create(**asked)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    (item,) = response.output
    assert item.type == "message"
    assert item.status == "incomplete"
    *_, last = client.responses.create(**asked, stream=True)
    assert last.type == "response.incomplete"
    assert last.response.output_text == response.output_text


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_goes_on(client: OpenAI, url: str, stream: bool) -> None:
    """Without instructions, which are of one response; from any of its responses."""
    if stream:
        *_, last = client.responses.create(
            model=MODEL, input="Hello", instructions="Be kind.", stream=True, **GREEDY
        )
        assert last.type == "response.completed"
        first = last.response
    else:
        first = client.responses.create(
            model=MODEL, input="Hello", instructions="Be kind.", **GREEDY
        )
    asked: Any = {"model": MODEL, **GREEDY}
    second = client.responses.create(input=QUESTION, previous_response_id=first.id, **asked)
    third = client.responses.create(input="Why?", previous_response_id=second.id, **asked)
    other = client.responses.create(input="Why?", previous_response_id=first.id, **asked)
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": second.output_text},
        {"role": "user", "content": "Why?"},
    ]
    for response, before in ((second, messages[:3]), (third, messages)):
        text, usage = answered(url, before)
        assert response.output_text == text
        assert response.usage is not None
        assert response.usage.input_tokens == usage["prompt_tokens"]
    assert other.output_text == answered(url, [*messages[:2], messages[4]])[0]
    assert third.previous_response_id == second.id


def test_responses_are_kept_until_they_are_deleted(client: OpenAI, url: str) -> None:
    response = client.responses.create(model=MODEL, input="Hello", **GREEDY)
    assert client.responses.retrieve(response.id).to_dict() == response.to_dict()
    client.responses.delete(response.id)
    for ask in (client.responses.retrieve, client.responses.delete):
        with pytest.raises(NotFoundError) as raised:
            ask(response.id)
        assert raised.value.body["param"] == "response_id"  # type: ignore[index]
    with pytest.raises(NotFoundError) as raised:
        client.responses.create(model=MODEL, input="x", previous_response_id=response.id)
    assert raised.value.param == "previous_response_id"
    assert raised.value.code == "previous_response_not_found"
    answer = httpx.get(f"{url}/v1/responses/{response.id}", params={"stream": "true"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream")
    wrong = httpx.put(f"{url}/v1/responses/{response.id}")
    assert wrong.status_code == 405
    assert wrong.headers["Allow"] == "DELETE, GET, HEAD"


def test_pages_of_others_may_delete_where_they_may_ask(url: str) -> None:
    headers = {"Origin": "https://example.com", "Access-Control-Request-Method": "DELETE"}
    assert httpx.options(f"{url}/v1/responses/x", headers=headers).status_code == 200


def test_what_is_not_to_be_stored_is_not(client: OpenAI) -> None:
    response = client.responses.create(model=MODEL, input="Hello", store=False, **GREEDY)
    assert response.to_dict()["store"] is False
    with pytest.raises(NotFoundError):
        client.responses.retrieve(response.id)


def test_a_store_has_bounds() -> None:
    now = 0.0
    store = ResponseStore(max_bytes=100, max_age_s=10, clock=lambda: now)
    for name in "abc":
        store.keep(name, StoredResponse(b"x" * 20, b"y" * 20))
        now += 1
    assert [name for name in "abc" if store.get(name)] == ["b", "c"]
    store.delete("b")
    store.keep("d", StoredResponse(b"x" * 50, b""))
    assert [name for name in "abcd" if store.get(name)] == ["c", "d"]
    now = 12.5
    assert [name for name in "abcd" if store.get(name)] == ["d"]
    store.keep("e", StoredResponse(b"x" * 101, b""))
    assert not any(store.get(name) for name in "abcde")


def test_conversations_that_are_too_large_are_not_kept() -> None:
    """Which the response says, and a request that insists is told."""
    store = ResponseStore(max_bytes=400)

    def keeps(**fields: Any) -> bool:
        body = msgspec.convert(fields, ResponsesRequest)
        return asyncio.run(read_conversation(store, body)).is_kept

    assert keeps(input="x" * 40)
    assert not keeps(input="x" * 40, store=False)
    assert not keeps(input="x" * 100)
    with pytest.raises(RequestError, match="send store: false"):
        keeps(input="x" * 100, store=True)
    item = {"role": "user", "content": "y" * 60}
    store.keep("a", StoredResponse(b"{}", msgspec.json.encode([item])))
    assert not keeps(input="x" * 40, previous_response_id="a")


USER = {"role": "user", "content": "x"}
TEXT = {"type": "input_text", "text": "x"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": [USER] * 2049}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [USER, {**USER, "role": "tool"}]}, "input[1].role"),
        ({"input": [{**USER, "zzz": 1}]}, "input[0].zzz"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type"),
        ({"input": [{"type": ["message"]}]}, "input[0].type"),
        ({"input": [{"type": "reasoning", "content": 1}]}, "input[0].content"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{**USER, "content": [{"type": "text", "text": "x"}]}]}, "input[0].content[0]"),
        ({"input": [{**USER, "content": [{**TEXT, "zzz": 1}]}]}, "input[0].content[0].zzz"),
        (
            {"input": [{**USER, "content": [TEXT, {"type": "input_image", "file_id": "x"}]}]},
            "input[0].content[1].file_id",
        ),
        (
            {
                "instructions": "x",
                "input": [
                    USER,
                    {**USER, "content": [TEXT, {"type": "input_image", "image_url": "zzz"}]},
                ],
            },
            "input[1].content[1].image_url",
        ),
        (
            {
                "input": [
                    {
                        **USER,
                        "content": [
                            {"type": "input_image", "image_url": "data:x", "detail": "zzz"}
                        ],
                    }
                ]
            },
            "input[0].content[0].detail",
        ),
        (
            {"input": [{**USER, "role": "assistant", "content": [TEXT | {"type": "refusal"}]}]},
            "input[0].content[0]",
        ),
        ({"input": [USER, {**USER, "content": "ab " * 10**6}]}, "input[1].content"),
        ({"input": "ab " * 10**6}, "input"),
        ({"instructions": "ab " * 10**6}, "instructions"),
        ({"input": [{"type": "reasoning", "summary": [{"text": "x"}]}]}, "input[0].summary"),
        (
            {"input": [{"type": "reasoning", "encrypted_content": "x"}]},
            "input[0].encrypted_content",
        ),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        (
            {
                "input": [
                    USER,
                    {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{"},
                ]
            },
            "input[1].arguments",
        ),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 10**6}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "text", "name": "x"}}}, "text.format.name"),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "zzz"}}}},
            "text.format.schema",
        ),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "f", "zzz": 1}]}, "tools[0].zzz"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "name": "f"}]}, "tools"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"previous_response_id": "resp_zzz"}, "previous_response_id"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"include": ["reasoning.encrypted_content"]}, "include[0]"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"top_logprobs": 21, "include": ["message.output_text.logprobs"]}, "top_logprobs"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
        ),
    ],
)
def test_refusals_name_what_is_at_fault(
    url: str, fields: dict[str, Any], param: str, stream: bool
) -> None:
    answer = post(url, **{"stream": stream, **fields})
    assert answer.status_code == (404 if param == "previous_response_id" else 400), answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert "messages" not in error["message"]
    assert "max_tokens" not in error["message"]


def test_what_an_image_s_fault_is_stays_told(url: str) -> None:
    part = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    error = post(url, input=[{**USER, "content": [part]}]).json()["error"]
    assert (error["param"], error["code"]) == ("input[0].content[0].image_url", "invalid_image")
    assert error["message"].startswith("input[0].content[0].image_url: ")


def test_the_sdk_raises_refusals(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="reasoning is not honoured"):
        client.responses.create(model=MODEL, input="x", reasoning={"effort": "low"})


def test_a_client_that_leaves_frees_the_blocks(url: str) -> None:
    def free_blocks() -> int:
        count: int = httpx.get(f"{url}/health").json()["num_free_blocks"]
        return count

    before = free_blocks()
    body = {"input": "Hello", "temperature": 2, "stream": True, "max_output_tokens": 1500}
    with httpx.stream("POST", f"{url}/v1/responses", json=body, timeout=240) as answer:
        assert next(answer.iter_lines()) == "event: response.created"
    wait_until(lambda: free_blocks() == before)


def test_a_failure_is_told_as_its_caller_tells_it() -> None:
    async def events() -> AsyncGenerator[bytes]:
        yield b"one"
        raise RequestTimeoutError("too late", queued=False)

    async def gathered() -> list[bytes]:
        http = Request({"type": "http"})
        told = until_failed(http, events(), lambda _, body: json.dumps(body["error"]).encode())
        return [event async for event in told]

    first, last = asyncio.run(gathered())
    assert first == b"one"
    assert json.loads(last)["message"] == "too late"
