"""Thoughts and calls of functions over HTTP, told by OpenAI's own client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
from octavo import LLM, SamplingParams
from octavo.app.page.ask.bubbles import bubbles
from octavo.app.page.ask.conversation import Conversation, Turn
from octavo.app.page.server.server_api import AnswerSoFar, ServerApi
from octavo.core.protocol.config import ConfigError
from openai import OpenAI
from scripted_checkpoint import save_scripts
from serving import chat, running_server

_CALL = '{"name": "weather", "arguments": {"city": "Oslo"}}'
_OTHER = '{"name": "weather", "arguments": {"days": "3"}}'
SCRIPTS = {
    "two": [
        *("<think>", "Which", " city?", "</think>", "Let me look.", "\n"),
        *("<tool_call>", _CALL, "</tool_call>", "\n<tool_call>", _OTHER, "\n</tool_call>"),
    ],
    "plain": ["Just", " words", ".<br>"],
    "odd": ["It is <tool_call>{no</tool_call>", "<mark>", " so."],
}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            },
        },
    }
]
CALLS = [("weather", {"city": "Oslo"}), ("weather", {"days": 3})]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("scripted")
    save_scripts(folder, SCRIPTS, ["<mark>"], "<think> <tool_call> </tool_call>")
    with running_server(str(folder)) as base:
        yield base


def test_the_model_says_that_it_calls(server: str) -> None:
    (model,) = httpx.get(f"{server}/v1/models").json()["data"]
    assert model["input_modalities"] == ["text"]
    can = ["chat", "structured_outputs", "tools", "forced_tools", "strict_tools", "reasoning"]
    assert model["features"] == can


def ask(base: str, script: str, **fields: Any) -> dict[str, Any]:
    given = {"temperature": 0, "max_tokens": 50, "tools": TOOLS, **fields}
    answer = chat(base, script, **given)
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


def streamed(base: str, script: str, **fields: Any) -> tuple[dict[str, str], list[Any], str]:
    """What OpenAI's client gathers of a stream: texts by name, calls, and why it ended."""
    client = OpenAI(base_url=f"{base}/v1", api_key="none")
    given: dict[str, Any] = {"temperature": 0, "max_tokens": 50, "tools": TOOLS, **fields}
    messages: Any = [{"role": "user", "content": script}]
    (model,) = client.models.list().data
    chunks = client.chat.completions.create(model=model.id, messages=messages, stream=True, **given)
    texts, calls, reason = {"content": "", "reasoning_content": ""}, dict[int, Any](), ""
    for chunk in chunks:
        (choice,) = chunk.choices
        texts["content"] += choice.delta.content or ""
        texts["reasoning_content"] += getattr(choice.delta, "reasoning_content", None) or ""
        for call in choice.delta.tool_calls or []:
            assert call.index not in calls
            calls[call.index] = call
        reason = choice.finish_reason or reason
    return texts, [calls[index] for index in sorted(calls)], reason


def read(calls: Any) -> list[tuple[str, Any]]:
    return [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls]


def test_two_calls_and_thoughts(server: str) -> None:
    choice = ask(server, "two")
    message = choice["message"]
    assert message["reasoning_content"] == "Which city?"
    assert message["content"] == "Let me look."
    assert read(message["tool_calls"]) == CALLS
    assert all(set(call) == {"id", "type", "function"} for call in message["tool_calls"])
    assert len({call["id"] for call in message["tool_calls"]}) == 2
    assert choice["finish_reason"] == "tool_calls"


def test_two_calls_and_thoughts_in_a_stream(server: str) -> None:
    texts, calls, reason = streamed(server, "two")
    assert texts == {"content": "Let me look.", "reasoning_content": "Which city?"}
    assert read([call.model_dump() for call in calls]) == CALLS
    assert reason == "tool_calls"


def test_calls_go_back_into_the_prompt(server: str) -> None:
    """What is told can be said again, by its client or any other."""
    message = ask(server, "two")["message"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "plain"}
        for call in message["tool_calls"]
    ]
    body = {"messages": [{"role": "user", "content": "two"}, message, *results], "tools": TOOLS}
    answer = httpx.post(f"{server}/v1/chat/completions", json={**body, "temperature": 0})
    assert answer.json()["choices"][0]["message"]["content"] == "Just words.<br>"


def test_fields_of_calls_and_thoughts_are_honoured(server: str) -> None:
    one = ask(server, "two", parallel_tool_calls=False)["message"]["tool_calls"]
    assert read(one) == CALLS[:1]
    assert "reasoning_content" not in ask(server, "two", include_reasoning=False)["message"]
    none = ask(server, "two", tool_choice="none")
    assert none["finish_reason"] == "stop"
    assert none["message"]["content"].startswith(f"Let me look.\n<tool_call>{_CALL}</tool_call>")
    assert none["message"]["reasoning_content"] == "Which city?"


def test_an_answer_without_calls_is_told_as_it_is(server: str) -> None:
    choice = ask(server, "plain")
    assert choice["message"] == {"role": "assistant", "content": "Just words.<br>"}
    assert choice["finish_reason"] == "stop"
    assert streamed(server, "plain")[0]["content"] == "Just words.<br>"


def test_a_malformed_call_and_special_tokens(server: str) -> None:
    content = "It is <tool_call>{no</tool_call> so."
    assert ask(server, "odd")["message"] == {"role": "assistant", "content": content}
    shown = ask(server, "odd", skip_special_tokens=False)["message"]["content"]
    assert shown == content.replace(" so.", "<mark> so.")
    assert ask(server, "odd", tools=None)["message"]["content"] == content


@pytest.mark.parametrize("num_tokens", range(1, 12))
def test_a_limit_ends_any_part_cleanly(server: str, num_tokens: int) -> None:
    choice = ask(server, "two", max_tokens=num_tokens)
    message = choice["message"]
    assert choice["finish_reason"] == "length"
    assert "Let" not in message.get("reasoning_content", "")
    assert "Which" not in (message["content"] or "")
    calls = read(message.get("tool_calls", []))
    assert calls == CALLS[: len(calls)]
    texts, in_stream, reason = streamed(server, "two", max_tokens=num_tokens)
    assert reason == "length"
    assert texts["content"] == (message["content"] or "")
    assert texts["reasoning_content"] == message.get("reasoning_content", "")
    assert read([call.model_dump() for call in in_stream]) == calls


def test_a_stop_string_ends_a_call_cleanly(server: str) -> None:
    choice = ask(server, "two", stop=["</tool_call>"])
    assert read(choice["message"]["tool_calls"]) == CALLS[:1]
    assert "tool_calls" not in ask(server, "two", stop=["Oslo"])["message"]


def test_tools_need_a_model_that_can_call_them(demo_server: str, tmp_path: Path) -> None:
    answer = chat(demo_server, tools=TOOLS)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "tools"
    assert "no place for tools" in answer.json()["error"]["message"]


def test_an_operator_says_how_answers_are_read(tmp_path: Path) -> None:
    save_scripts(tmp_path / "model", SCRIPTS, ["<mark>"], "")
    with running_server(str(tmp_path / "model")) as base:
        answer = chat(base, "two", tools=TOOLS)
        assert answer.status_code == 400
        assert "--response-template" in answer.json()["error"]["message"]
    file = tmp_path / "calls.json"
    call = {"open": "<tool_call>", "close": "</tool_call>", "content": "json", "repeats": True}
    call["transform"] = {"type": "function", "function": "{content}"}  # type: ignore[assignment]
    file.write_text(json.dumps({"fields": {"tool_calls": call, "content": {}}}))
    with running_server(str(tmp_path / "model"), "--response-template", str(file)) as base:
        message = ask(base, "two")["message"]
        assert read(message["tool_calls"]) == CALLS
        assert message["content"].startswith("<think>Which city?</think>Let me look.")


def test_the_page_shows_thoughts_apart(server: str) -> None:
    async def ask() -> AnswerSoFar:
        api, answer = ServerApi(server), AnswerSoFar()
        messages = [{"role": "user", "content": "two"}]
        sampling = {"temperature": 0, "max_tokens": 5}
        async with aclosing(api.ask(messages, sampling)) as answers:
            async for part in answers:
                answer = part
        await api.close()
        return answer

    answer = asyncio.run(ask())
    assert (answer.text, answer.thoughts) == ("Let me look.", "Which city?")
    conversation = Conversation()
    conversation.turns.append(Turn("two", answer=answer))
    thoughts, text, _ = bubbles(conversation)[1]["content"]
    assert ">Which city?</details>" in thoughts.value
    assert text == {"type": "text", "text": "Let me look."}


def test_offline_answers_are_told_as_they_are_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="response_template is for servers"):
        LLM(response_template="hermes")
    save_scripts(tmp_path, SCRIPTS, ["<mark>"], "<think>")
    messages = [{"role": "user", "content": "odd"}]
    with LLM(tmp_path) as llm:
        texts = [
            llm.chat(messages, SamplingParams(temperature=0, skip_special_tokens=skip))[0]
            for skip in (True, False)
        ]
    assert [output.outputs[0].text for output in texts] == [
        "It is <tool_call>{no</tool_call> so.",
        "It is <tool_call>{no</tool_call><mark> so.",
    ]
