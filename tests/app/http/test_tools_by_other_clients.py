"""Thoughts and calls of tools, told by the clients of other APIs than OpenAI's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic
from ollama import Client
from scripted_checkpoint import save_scripts
from serving import running_server

_CALL = '{"name": "weather", "arguments": {"city": "Oslo"}}'
_OTHER = '{"name": "weather", "arguments": {"days": "3"}}'
SCRIPTS = {
    "two": [
        *("<think>", "Which", " city?", "</think>", "Let me look.", "\n"),
        *("<tool_call>", _CALL, "</tool_call>", "\n<tool_call>", _OTHER, "\n</tool_call>"),
    ],
    "plain": ["Just", " words", ".<br>"],
    "nothing": [],
}
#: The template says how calls are written, and whether there are thoughts.
_MARKS = """<tool_call> </tool_call> -#}
{%- if enable_thinking is defined and not enable_thinking %}<think></think>{% endif -%}
{#- <think>"""
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
}
MODEL = "scripted"
#: Of the script with two calls, what follows its text, where no calls are looked for.
AFTER = "".join(SCRIPTS["two"][5:])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("scripted")
    save_scripts(folder, SCRIPTS, [], _MARKS)
    with running_server(str(folder), f"--served-model-name={MODEL}") as base:
        yield base


TOOLS: Any = [{"name": "weather", "input_schema": PARAMETERS, "cache_control": None}]
THOUGHTS = ("thinking", "Which city?")
TEXT = ("text", "Let me look.")
CALLS = [("tool_use", {"city": "Oslo"}), ("tool_use", {"days": 3})]


@pytest.fixture(scope="module")
def claude(url: str) -> Iterator[Anthropic]:
    with Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def asked(script: str, **fields: Any) -> Any:
    messages = [{"role": "user", "content": script}]
    given = {"model": MODEL, "max_tokens": 50, "tools": TOOLS, "extra_body": {"temperature": 0}}
    return {**given, "messages": messages, **fields}


def shape(message: Any) -> list[tuple[str, Any]]:
    names = {"text": "text", "thinking": "thinking", "tool_use": "input"}
    return [(block.type, getattr(block, names[block.type])) for block in message.content]


@pytest.mark.parametrize(
    ("script", "expected", "reason"),
    [
        ("two", [THOUGHTS, TEXT, *CALLS], "tool_use"),
        ("plain", [("text", "Just words.<br>")], "end_turn"),
        ("nothing", [], "end_turn"),
    ],
)
def test_blocks_whole_and_in_streams(
    claude: Anthropic, script: str, expected: list[Any], reason: str
) -> None:
    whole = claude.messages.create(**asked(script))
    assert (shape(whole), whole.stop_reason) == (expected, reason)
    with claude.messages.stream(**asked(script)) as stream:
        events = [event for event in stream if hasattr(event, "index")]
        final = stream.get_final_message()
    assert (shape(final), final.stop_reason) == (expected, reason)
    raw = [event for event in events if event.type.startswith("content_block_")]
    seen: dict[int, list[str]] = {}
    for event in raw:
        seen.setdefault(event.index, []).append(event.type.removeprefix("content_block_"))
    assert list(seen) == list(range(len(expected)))
    for kinds in seen.values():
        assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("start", "stop", {"delta"})
    # A block ends before the next one begins.
    assert [event.index for event in raw] == sorted(event.index for event in raw)


def test_results_go_on(claude: Anthropic) -> None:
    """By the blocks that came."""
    first = claude.messages.create(**asked("two"))
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "plain"}
        for block in first.content
        if block.type == "tool_use"
    ]
    messages: list[Any] = [
        {"role": "user", "content": "two"},
        first.to_param(),
        {"role": "user", "content": results},
    ]
    second = claude.messages.create(**asked("", messages=messages))
    assert shape(second) == [("text", "Just words.<br>")]
    usage = second.usage
    count = claude.messages.count_tokens(model=MODEL, messages=messages, tools=TOOLS)
    assert count.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_tool_choice(claude: Anthropic) -> None:
    one = claude.messages.create(
        **asked("two", tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    )
    assert shape(one) == [THOUGHTS, TEXT, CALLS[0]]
    none = claude.messages.create(**asked("two", tool_choice={"type": "none"}))
    assert {kind for kind, _ in shape(none)} == {"thinking", "text"}
    with pytest.raises(anthropic.BadRequestError, match="no tool is called 'wether'"):
        claude.messages.create(**asked("two", tool_choice={"type": "tool", "name": "wether"}))


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "colour"}])
@pytest.mark.parametrize("stream", [False, True])
def test_calls_are_forced(claude: Anthropic, choice: Any, stream: bool) -> None:
    red = {"type": "object", "properties": {"red": {"enum": [7]}}, "required": ["red"]}
    tools = [{"name": "colour", "input_schema": {**red, "additionalProperties": False}}]
    choice = {**choice, "disable_parallel_tool_use": True}
    given = asked("plain", tools=tools, tool_choice=choice, max_tokens=300)
    if stream:
        with claude.messages.stream(**given) as events:
            message = events.get_final_message()
    else:
        message = claude.messages.create(**given)
    assert (shape(message), message.stop_reason) == ([("tool_use", {"red": 7})], "tool_use")


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        ({"type": "enabled", "budget_tokens": 1024}, [THOUGHTS, TEXT]),
        ({"type": "adaptive"}, [THOUGHTS, TEXT]),
        ({"type": "enabled", "budget_tokens": 1024, "display": "omitted"}, [TEXT]),
        ({"type": "disabled"}, [TEXT]),
    ],
)
def test_thoughts_as_they_are_asked_for(
    claude: Anthropic, thinking: Any, expected: list[Any]
) -> None:
    """Where they are disabled, by the switch of the chat template: none are made."""
    message = claude.messages.create(**asked("two", thinking=thinking))
    assert shape(message)[: len(expected)] == expected
    made = len(SCRIPTS["two"]) + 1
    assert message.usage.output_tokens == made - 4 * (thinking["type"] == "disabled")
    twice = {"enable_thinking": True}
    if thinking["type"] != "adaptive":
        with pytest.raises(anthropic.BadRequestError, match="says what thinking says"):
            claude.messages.create(
                **asked("two", thinking=thinking, extra_body={"chat_template_kwargs": twice})
            )


def weather(city: str = "", days: int = 0) -> str:
    """The weather.

    Args:
        city: where
        days: from now
    """
    return "plain"


ARGUMENTS = [{"city": "Oslo"}, {"days": 3}]


@pytest.fixture(scope="module")
def llama(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


def told(llama: Client, stream: bool, **fields: Any) -> tuple[str, str, list[Any], str | None]:
    """By Ollama's client: thoughts, text, what calls are given, and why the answer ended."""
    given: dict[str, Any] = {"options": {"temperature": 0}, "tools": [weather], **fields}
    given.setdefault("messages", [{"role": "user", "content": "two"}])
    lines: Any = llama.chat(MODEL, stream=stream, **given)
    lines = list(lines) if stream else [lines]
    messages = [line.message for line in lines]
    calls = [call for message in messages for call in message.tool_calls or ()]
    assert {call.function.name for call in calls} <= {"weather"}
    thoughts = "".join(message.thinking or "" for message in messages)
    text = "".join(message.content for message in messages)
    return thoughts, text, [call.function.arguments for call in calls], lines[-1].done_reason


@pytest.mark.parametrize("stream", [False, True])
def test_ollamas_client_is_told_of_thoughts_and_calls(llama: Client, stream: bool) -> None:
    assert told(llama, stream) == ("Which city?", "Let me look.", ARGUMENTS, "stop")
    without = told(llama, stream, think=False)
    assert without == ("", "Let me look.", ARGUMENTS, "stop")
    assert told(llama, stream, think=True)[0] == "Which city?"


def test_results_of_ollamas_client_go_on(llama: Client, url: str) -> None:
    """By the message that came, whose calls have no ids."""
    asked: list[Any] = [{"role": "user", "content": "two"}]
    first = llama.chat(MODEL, asked, tools=[weather], options={"temperature": 0})
    result = {"role": "tool", "tool_name": "weather", "content": weather()}
    messages = [*asked, first.message, result, result]
    assert told(llama, False, messages=messages) == ("", "Just words.<br>", [], "stop")
    said = llama.generate(MODEL, "two", options={"temperature": 0})
    assert (said.thinking, said.response) == ("Which city?", "Let me look." + AFTER)
    capabilities = llama.show(MODEL).capabilities
    assert capabilities == ["completion", "tools", "thinking"]
