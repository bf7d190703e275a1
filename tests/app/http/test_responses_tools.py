"""Thoughts and calls of functions in responses, told by OpenAI's own client."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from octavo.app.http.responses.input_items import ChatMessages
from octavo.core.protocol.request_error import RequestError
from openai import BadRequestError, NotFoundError, OpenAI, pydantic_function_tool
from pydantic import BaseModel
from scripted_checkpoint import save_scripts
from serving import chat, is_healthy, running_server, wait_until

_CALL = '{"name": "weather", "arguments": {"city": "Oslo"}}'
_OTHER = '{"name": "weather", "arguments": {"days": "3"}}'
SCRIPTS = {
    "two": [
        *("<think>", "Which", " city?", "</think>", "Let me look.", "\n"),
        *("<tool_call>", _CALL, "</tool_call>", "\n<tool_call>", _OTHER, "\n</tool_call>"),
    ],
    "plain": ["Just", " words", ".<br>"],
    "after": ["<tool_call>\n" + _CALL + "</tool_call>", "There", " it is."],
    "nothing": [],
}
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
}
TOOLS: list[Any] = [{"type": "function", "name": "weather", "parameters": PARAMETERS}]
CALLS = [("weather", {"city": "Oslo"}), ("weather", {"days": 3})]


class Colour(BaseModel):
    """A colour."""

    red: bool
    green: bool


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("scripted")
    save_scripts(folder, SCRIPTS, [], "<think> <tool_call> </tool_call>")
    with running_server(str(folder)) as base:
        yield base


@pytest.fixture(scope="module")
def asked(client: OpenAI) -> dict[str, Any]:
    (model,) = client.models.list().data
    return {"model": model.id, "temperature": 0, "max_output_tokens": 50, "tools": TOOLS}


def shape(items: list[Any]) -> list[Any]:
    """What items say, without their ids."""
    found = []
    for item in items:
        if item.type == "function_call":
            found.append((item.name, json.loads(item.arguments)))
        else:
            found.append((item.type, "".join(part.text for part in item.content)))
    return found


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("two", [("reasoning", "Which city?"), ("message", "Let me look."), *CALLS]),
        ("plain", [("message", "Just words.<br>")]),
        ("after", [("message", "There it is."), CALLS[0]]),
        ("nothing", [("message", "")]),
    ],
)
def test_items_whole_and_in_streams(
    client: OpenAI, asked: dict[str, Any], script: str, expected: list[Any]
) -> None:
    whole = client.responses.create(input=script, **asked)
    assert shape(whole.output) == expected
    assert whole.status == "completed"
    assert all(item.status == "completed" for item in whole.output)
    with client.responses.stream(input=script, **asked) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert shape(final.output) == expected
    assert [event.sequence_number for event in events] == list(range(len(events)))
    seen: dict[int, list[str]] = {}
    for event in events:
        index = getattr(event, "output_index", None)
        if index is not None:
            # An item ends before the next one begins.
            assert index == max([*seen, index])
            kinds = seen.setdefault(index, [])
            kind = event.type.removeprefix("response.")
            if kinds[-1:] != [kind]:
                kinds.append(kind)
    orders = {
        "reasoning": "reasoning_text",
        "message": "output_text",
        "function_call": "function_call_arguments",
    }
    for index, item in enumerate(final.output):
        name = orders[item.type]
        inner = [f"{name}.delta", f"{name}.done"]
        if item.type != "function_call":
            inner = ["content_part.added", *inner, "content_part.done"]
        told = ["output_item.added", *inner, "output_item.done"]
        if script == "nothing":
            told.remove("output_text.delta")
        assert seen[index] == told


def test_what_thoughts_take(client: OpenAI, asked: dict[str, Any]) -> None:
    usage = client.responses.create(input="two", **asked).usage
    assert usage is not None
    assert usage.output_tokens_details.reasoning_tokens == len(["Which", " city?"])
    usage = client.responses.create(input="plain", **asked).usage
    assert usage is not None
    assert usage.output_tokens_details.reasoning_tokens == 0
    kinds = [
        item.type
        for item in client.responses.create(
            input="two", extra_body={"include_reasoning": False}, **asked
        ).output
    ]
    assert kinds == ["message", "function_call", "function_call"]


def test_one_call(client: OpenAI, asked: dict[str, Any]) -> None:
    response = client.responses.create(input="two", parallel_tool_calls=False, **asked)
    assert shape(response.output)[2:] == CALLS[:1]
    assert response.parallel_tool_calls is False
    response = client.responses.create(input="two", tool_choice="none", **asked)
    assert {item.type for item in response.output} == {"reasoning", "message"}


def test_outputs_of_calls_go_on(client: OpenAI, asked: dict[str, Any], url: str) -> None:
    """By the response that called, or by its items."""
    first = client.responses.create(input="two", **asked)
    calls: Any = [item for item in first.output if item.type == "function_call"]
    outputs: list[Any] = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "plain"}
        for call in calls
    ]
    second = client.responses.create(input=outputs, previous_response_id=first.id, **asked)
    assert second.output_text == "Just words.<br>"
    items: Any = [
        {"role": "user", "content": "two"},
        *(item.model_dump(exclude_none=True) for item in first.output),
        *outputs,
    ]
    again = client.responses.create(input=items, **asked)
    assert shape(again.output) == shape(second.output)
    assert again.usage is not None
    assert second.usage is not None
    assert again.usage.input_tokens == second.usage.input_tokens
    tool_calls = [
        {
            "id": call.call_id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in calls
    ]
    messages = [
        {"role": "user", "content": "two"},
        {
            "role": "assistant",
            "reasoning_content": "Which city?",
            "content": "Let me look.",
            "tool_calls": tool_calls,
        },
        *({"role": "tool", "tool_call_id": call.call_id, "content": "plain"} for call in calls),
    ]
    tools = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
    answer = chat(url, messages=messages, tools=tools, temperature=0, max_tokens=50).json()
    assert answer["usage"]["prompt_tokens"] == second.usage.input_tokens


def test_items_become_a_chat_s_messages() -> None:
    """Of which the answer of one turn is one."""
    image = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"}
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}", "id": "fc_1"}
    thoughts = {"type": "reasoning", "id": "rs_1", "summary": []}
    thoughts["content"] = [{"type": "reasoning_text", "text": "Hm."}]
    said = {"role": "assistant", "content": [{"type": "output_text", "text": "Hi", "logprobs": []}]}
    output = [{"type": "input_text", "text": "12"}, image]
    messages = ChatMessages("Be brief.")
    items: list[Any] = [
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "a"}, image],
        },
        *(thoughts, said, call, {**call, "call_id": "b"}),
        {"type": "function_call_output", "call_id": "a", "output": output},
        *(thoughts, call),
        {"type": "function_call_output", "call_id": "b", "output": "13"},
        *(said, said),
    ]
    for i, item in enumerate(items):
        messages.add(item, f"input[{i}]")

    def called(call_id: str) -> dict[str, Any]:
        return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}

    shown = {"url": "https://example.com/a.png", "detail": "low"}
    part = {"type": "image_url", "image_url": shown}
    assert messages.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, part]},
        {
            "role": "assistant",
            "reasoning_content": "Hm.",
            "content": "Hi",
            "tool_calls": [called("a"), called("b")],
        },
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "12"}, part]},
        {
            "role": "assistant",
            "reasoning_content": "Hm.",
            "content": "",
            "tool_calls": [called("a")],
        },
        {"role": "tool", "tool_call_id": "b", "content": "13"},
        {"role": "assistant", "content": "Hi"},
        {"role": "assistant", "content": "Hi"},
    ]
    for place, expected in {
        "messages[0].content": "instructions",
        "messages[1].content[1].image_url": "input[0].content[1].image_url",
        "messages[2].content": "input[2].content",
        "messages[2].tool_calls[1].function.arguments": "input[4].arguments",
        "messages[3].content[1].image_url.detail": "input[5].output[1].detail",
        "messages[4].tool_calls[0].function.arguments": "input[7].arguments",
        "messages[5]": "input[8]",
        "messages": "input",
        "max_completion_tokens": "max_output_tokens",
        "temperature": "temperature",
    }.items():
        error = messages.named(RequestError(f"{place} is wrong", place))
        assert (str(error), error.param) == (f"{expected} is wrong", expected)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "Colour"}])
def test_calls_are_forced_and_parsed(client: OpenAI, asked: dict[str, Any], choice: Any) -> None:
    given = {**asked, "tools": [pydantic_function_tool(Colour)], "tool_choice": choice}
    given |= {"temperature": 1, "max_output_tokens": 300, "parallel_tool_calls": False}
    response = client.responses.parse(input="plain", **given)
    (call,) = response.output
    assert call.type == "function_call"
    assert isinstance(call.parsed_arguments, Colour)
    assert response.status == "completed"
    with client.responses.stream(input="plain", **given) as stream:
        (call,) = stream.get_final_response().output
    assert call.type == "function_call"
    assert isinstance(call.parsed_arguments, Colour)


def test_log_probabilities_are_of_text_alone(client: OpenAI, asked: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError, match="thoughts or calls") as raised:
        client.responses.create(input="two", include=["message.output_text.logprobs"], **asked)
    assert raised.value.param == "include"


def test_an_unknown_function_can_not_be_forced(client: OpenAI, asked: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError, match="no tool is called 'wether'") as raised:
        client.responses.create(
            input="plain", tool_choice={"type": "function", "name": "wether"}, **asked
        )
    assert raised.value.param == "tool_choice.name"


def test_an_engine_that_dies_fails_the_response(
    client: OpenAI, asked: dict[str, Any], url: str
) -> None:
    """In the last event, as the stream has begun; it isn't kept. The last test, for its server."""
    numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 1000}
    form: Any = {"format": {"type": "json_schema", "name": "many", "schema": numbers}}
    given = {**asked, "tools": [], "max_output_tokens": 5000}
    pid = httpx.get(f"{url}/health").json()["engine_pid"]
    events: list[Any] = []
    for event in client.responses.create(input="plain", text=form, stream=True, **given):
        events.append(event)
        if len(events) == 9:
            os.kill(pid, signal.SIGKILL)
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.status == "failed"
    assert "the engine died (killed by signal 9)" in last.response.error.message
    assert [event.sequence_number for event in events] == list(range(len(events)))
    with pytest.raises(NotFoundError):
        client.responses.retrieve(last.response.id)
    wait_until(lambda: is_healthy(url), 30)
