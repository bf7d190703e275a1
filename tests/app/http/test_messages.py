"""POST /v1/messages by Anthropic's own client: the answers of chats, in another shape."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Literal

import anthropic
import httpx
import pytest
from anthropic import Anthropic
from octavo.app.http.error_shapes import anthropic_error
from octavo.app.http.event_stream import until_failed
from octavo.app.http.messages.content_blocks import ChatMessages
from octavo.core.protocol.errors import EngineDeadError
from octavo.core.protocol.request_error import RequestError
from PIL import Image
from pydantic import BaseModel
from serving import chat
from starlette.requests import Request

MODEL = "octavo-demo"
QUESTION = "What can you do?"
ASKED: list[Any] = [{"role": "user", "content": QUESTION}]
#: Newer versions of the client have no argument for the temperature.
GREEDY: dict[str, Any] = {"model": MODEL, "max_tokens": 40, "extra_body": {"temperature": 0}}


class Animal(BaseModel):
    """One of two."""

    name: Literal["cat", "dog"]
    old: bool


@pytest.fixture(scope="module")
def claude(demo_server: str) -> Iterator[Anthropic]:
    with Anthropic(base_url=demo_server, api_key="none", max_retries=0) as client:
        yield client


def picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (50, 40), "red").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def answered(base: str, messages: list[Any], **fields: Any) -> tuple[str, int, int]:
    """The text that a chat gives, and its tokens in and out."""
    given = {"temperature": 0, "max_tokens": 40, **fields}
    body = chat(base, messages=messages, **given).json()
    usage = body["usage"]
    text: str = body["choices"][0]["message"]["content"]
    return text, usage["prompt_tokens"], usage["completion_tokens"]


def shape(message: Any) -> tuple[str, int, int]:
    """The same of a message."""
    (block,) = message.content
    usage = message.usage
    return block.text, usage.input_tokens + usage.cache_read_input_tokens, usage.output_tokens


def test_the_answer_of_a_chat(claude: Anthropic, demo_server: str) -> None:
    message = claude.messages.create(messages=ASKED, metadata={"user_id": "me"}, **GREEDY)
    assert shape(message) == answered(demo_server, ASKED)
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL)
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.id.startswith("msg_")
    assert message._request_id is not None
    assert message._request_id.removeprefix("req-") == message.id.removeprefix("msg_")


def test_blocks_system_and_images(claude: Anthropic, demo_server: str) -> None:
    """Turns of one role that follow each other are one."""
    data = picture()
    mark: Any = {"type": "ephemeral"}
    given: Any = [
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "Hello", "cache_control": mark}],
        },
        {"role": "assistant", "content": "!"},
        {"role": "user", "content": [{"type": "text", "text": "Look:", "cache_control": mark}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": data},
                },
                {"type": "text", "text": "What is this?"},
            ],
        },
    ]
    system: Any = [{"type": "text", "text": "Be brief.", "cache_control": mark}]
    message = claude.messages.create(messages=given, system=system, **GREEDY)
    expected = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello!"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
                {"type": "text", "text": "What is this?"},
            ],
        },
    ]
    assert shape(message) == answered(demo_server, expected)
    count = claude.messages.count_tokens(model=MODEL, messages=given, system=system)
    assert count.input_tokens == shape(message)[1]


def test_an_answer_goes_on_with_the_assistants_words(claude: Anthropic, demo_server: str) -> None:
    messages: list[Any] = [*ASKED, {"role": "assistant", "content": "I can tell"}]
    message = claude.messages.create(messages=messages, **GREEDY)
    options = {"continue_final_message": True, "add_generation_prompt": False}
    assert shape(message) == answered(demo_server, messages, **options)


def test_a_stream_tells_events_in_order(claude: Anthropic, demo_server: str) -> None:
    text, prompt, answer = answered(demo_server, ASKED)
    events = list(claude.messages.create(messages=ASKED, stream=True, **GREEDY))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]  # pings are not told
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    deltas: Any = events[2:-3]
    assert len(deltas) > 3
    assert "".join(event.delta.text for event in deltas) == text
    begun: Any = events[0]
    usage = begun.message.usage
    assert (begun.message.content, begun.message.stop_reason) == ([], None)
    assert usage.input_tokens + usage.cache_read_input_tokens == prompt
    ended: Any = events[-2]
    assert (ended.delta.stop_reason, ended.usage.output_tokens) == ("end_turn", answer)


def test_the_sdk_gathers_a_stream(claude: Anthropic, demo_server: str) -> None:
    with claude.messages.stream(messages=ASKED, **GREEDY) as stream:
        told = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert shape(final) == answered(demo_server, ASKED)
    assert told == final.content[0].text  # type: ignore[union-attr]
    assert final.stop_reason == "end_turn"


def test_events_have_their_names_and_a_ping_is_one(demo_server: str) -> None:
    body = {"max_tokens": 40, "temperature": 0, "messages": ASKED, "stream": True}
    answer = httpx.post(f"{demo_server}/v1/messages", json=body, timeout=240)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["Request-Id"] == answer.headers["X-Request-Id"]
    names = []
    for block in answer.text.strip().split("\n\n"):
        name, data = block.split("\n")
        assert name == f"event: {json.loads(data.removeprefix('data: '))['type']}"
        names.append(name)
    assert names.count("event: ping") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_why_an_answer_ends(claude: Anthropic, stream: bool) -> None:
    def ends(**fields: Any) -> tuple[Any, Any, str]:
        given = {**GREEDY, "messages": ASKED, **fields}
        if stream:
            with claude.messages.stream(**given) as events:
                message = events.get_final_message()
        else:
            message = claude.messages.create(**given)
        return message.stop_reason, message.stop_sequence, shape(message)[0]

    whole = ends()[2]
    *reason, text = ends(stop_sequences=["zzz", whole[8:12]])
    assert reason == ["stop_sequence", whole[8:12]]
    assert text == whole[: whole.index(whole[8:12])]
    assert ends(max_tokens=3)[:2] == ("max_tokens", None)


def test_the_context_may_end_an_answer(claude: Anthropic) -> None:
    long: list[Any] = [{"role": "user", "content": "a b " * 1000}]
    room = 2048 - claude.messages.count_tokens(model=MODEL, messages=long).input_tokens
    assert 0 < room < 2000
    form: Any = {"format": {"type": "json_schema", "schema": {"type": "string", "minLength": 9999}}}
    asked: Any = {**GREEDY, "max_tokens": 2000, "output_config": form, "messages": long}
    message = claude.messages.create(**asked)
    assert message.stop_reason == "model_context_window_exceeded"
    assert message.usage.output_tokens == room


def test_pydantic_models_are_parsed(claude: Anthropic) -> None:
    asked: Any = {**GREEDY, "max_tokens": 200, "messages": ASKED, "output_format": Animal}
    assert isinstance(claude.messages.parse(**asked).parsed_output, Animal)


def test_errors_have_anthropics_shape(claude: Anthropic, demo_server: str) -> None:
    with pytest.raises(anthropic.NotFoundError, match="'zzz' is not served") as missing:
        claude.messages.create(messages=ASKED, model="zzz", max_tokens=1)
    with pytest.raises(anthropic.BadRequestError, match="zzz is no field") as refused:
        claude.messages.create(messages=ASKED, model=MODEL, max_tokens=1, extra_body={"zzz": 1})
    kinds = ["not_found_error", "invalid_request_error"]
    for raised, kind in zip((missing, refused), kinds, strict=True):
        body: Any = raised.value.body
        assert body["type"] == "error"
        assert set(body["error"]) == {"type", "message"}
        assert body["error"]["type"] == kind
        assert body["request_id"] == raised.value.request_id is not None
    for method, path, status in (("GET", "", 405), ("POST", "/batches", 404)):
        answer = httpx.request(method, f"{demo_server}/v1/messages{path}")
        assert answer.status_code == status
        assert "is not part of this API" in answer.json()["error"]["message"]
    too_large = httpx.post(f"{demo_server}/v1/messages", content=b" " * 5 * 2**20, timeout=60)
    assert too_large.status_code == 413
    assert too_large.json()["error"]["type"] == "request_too_large"


def test_a_stream_that_fails_says_so() -> None:
    async def events() -> AsyncGenerator[bytes]:
        yield b"event: ping\n\n"
        raise EngineDeadError("the engine died")

    async def gathered() -> bytes:
        scope: Any = {"type": "http", "path": "/v1/messages", "state": {"request_id": "req-1"}}

        def told(status: int, body: dict[str, Any]) -> bytes:
            return json.dumps(anthropic_error(scope, status, body)).encode()

        return b"".join([part async for part in until_failed(Request(scope), events(), told)])

    last = json.loads(asyncio.run(gathered()).splitlines()[-1])
    error = {"type": "overloaded_error", "message": "the engine died"}
    assert last == {"type": "error", "error": error, "request_id": "req-1"}


FORMED = {"output_config": {"format": {"type": "json_schema", "schema": {}}}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
RESULT = {"type": "tool_result", "tool_use_id": "a"}


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ([], "messages[0].content"),
        (None, "messages[0].content"),
        ([{"type": "document", "source": {}}], "messages[0].content[0]"),
        ([{"type": "text", "text": 1}], "messages[0].content[0].text"),
        ([{"type": "text", "text": "a", "zzz": 1}], "messages[0].content[0].zzz"),
        ([{"type": "text", "text": "a"}, IMAGE], "messages[0].content[1].source"),
        ([{"type": "image", "source": {"type": "file"}}], "messages[0].content[0].source"),
        ([{"type": "image", "source": {"type": ["url"]}}], "messages[0].content[0].source"),
        ([{"type": ["text"], "text": "a"}], "messages[0].content[0]"),
        (
            [{"type": "image", "source": {"type": "url", "url": "https://x.org/a.png"}}],
            "messages[0].content[0].source",
        ),
        ([{**RESULT, "content": [IMAGE]}], "messages[0].content[0].content[0].source"),
        ([{**RESULT, "content": [RESULT]}], "messages[0].content[0].content[0]"),
        ([{"type": "tool_use", "id": "a", "name": "f", "input": {}}], "messages[0].content[0]"),
    ],
)
def test_what_is_wrong_is_named(claude: Anthropic, content: Any, place: str) -> None:
    with pytest.raises(anthropic.BadRequestError) as raised:
        claude.messages.create(messages=[{"role": "user", "content": content}], **GREEDY)
    assert str(raised.value.api_message).startswith(place), raised.value.api_message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role must be"),
        ({"messages": [{"role": "user", "content": "a", "name": "b"}]}, "messages[0].name is no"),
        ({"tools": [{"name": "f", "input_schema": {}}]}, "tools: the model's chat template"),
        ({"tools": [{"name": "f", "input_schema": 1}]}, "tools[0].input_schema must be"),
        ({"tools": [{"name": "f"}]}, "Object missing required field `input_schema` - at `tools[0]"),
        (
            {"tools": [{"type": "web_search_20250305", "name": "a"}]},
            'tools[0].type can only be "cu',
        ),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name goes with"),
        ({"tool_choice": {"type": "any"}}, "tool_choice: there are no tools"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            "thinking: model 'octavo-demo' do",
        ),
        ({"thinking": {"type": "zzz"}}, "Invalid enum value 'zzz' - at `thinking.type`"),
        (
            {**FORMED, "tools": [{"name": "f", "input_schema": {}}]},
            "with output_config.format.schema:",
        ),
        ({"output_config": {"effort": "low"}}, "output_config.effort is not honoured here"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "zzz"}}}},
            "output_config.format",
        ),
        ({"stop_sequences": ["a"] * 65}, "stop_sequences has 65 strings"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
    ],
)
def test_fields_are_named_as_here(claude: Anthropic, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(anthropic.BadRequestError) as raised:
        claude.messages.create(**{**GREEDY, "messages": ASKED, **fields})
    assert said in str(raised.value.api_message)


def test_blocks_become_a_chat_s_messages() -> None:
    source: dict[str, Any] = {"type": "url", "url": "https://example.com/a.png"}
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}, "caller": None}
    messages = ChatMessages([{"type": "text", "text": "Be brief."}], 99)
    given: list[Any] = [
        {"role": "user", "content": "a"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": ""},
                {"type": "text", "text": "Hi"},
                call,
                {**call, "id": "b"},
            ],
        },
        {
            "role": "user",
            "content": [
                {**RESULT, "content": [{"type": "image", "source": source}]},
                {"type": "tool_result", "tool_use_id": "b", "content": "13", "is_error": True},
                {"type": "text", "text": "So?"},
            ],
        },
    ]
    for i, message in enumerate(given):
        messages.add(message, f"messages[{i}]")

    def called(call_id: str) -> dict[str, Any]:
        return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}

    part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert messages.messages == [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {
            "role": "assistant",
            "content": "Hi",
            "reasoning_content": "Hm.",
            "tool_calls": [called("a"), called("b")],
        },
        {"role": "tool", "tool_call_id": "a", "content": [part]},
        {"role": "tool", "tool_call_id": "b", "content": "13"},
        {"role": "user", "content": [{"type": "text", "text": "So?"}]},
    ]
    assert not messages.check_end()
    for place, expected in {
        "messages[0].content[0]": "system[0]",
        "messages[2].tool_calls[1].function.arguments": "messages[1].content[3].input",
        "messages[3].content[0].image_url": "messages[2].content[0].content[0].source",
        "messages[5].content[0]": "messages[2].content[2]",
        "max_completion_tokens": "max_tokens",
        "tools[1].function.parameters.type": "tools[1].input_schema.type",
        "temperature": "temperature",
    }.items():
        error = messages.named(RequestError(f"{place} is wrong", place))
        assert (str(error), error.param) == (f"{expected} is wrong", expected)


def test_only_text_is_gone_on_with() -> None:
    messages = ChatMessages(None, 99)
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    messages.add({"role": "assistant", "content": [call]}, "messages[0]")
    with pytest.raises(RequestError, match="is the last and the assistant's"):
        messages.check_end()


def test_more_blocks_than_a_prompt_can_have_are_refused_unread() -> None:
    messages = ChatMessages(None, 3)
    with pytest.raises(RequestError, match="more blocks than the context has tokens"):
        messages.add({"role": "user", "content": [None] * 4}, "messages[0]")
