"""Functions whose arguments are kept to their schemas though a call is up to the model.

The model writes calls by scripts, whose arguments are wrong; truth is what jsonschema says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from openai import OpenAI
from scripted_checkpoint import save_scripts
from serving import chat, running_server

_BEGUN = '{"name": "weather", "arguments": {"city": "'
_WRONG = 'Bergen", "days": "three"}}'
_FREE = '{"name": "note", "arguments": {"anything": [1, "x"]}}'
SCRIPTS = {
    "wrong": [
        "<think>",
        "Well",
        "</think>",
        "So.",
        "<tool_call>\n",
        _BEGUN,
        _WRONG,
        "\n</tool_call>",
    ],
    "free": ["<tool_call>", "\n", _FREE, "\n</", "tool_call>"],
    "plain": ["No", " call", " {at all}"],
}
WEATHER = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"enum": [1, 2, 3]}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "weather", "parameters": WEATHER, "strict": True}},
    {"type": "function", "function": {"name": "note"}},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("scripted")
    save_scripts(folder, SCRIPTS, [], "<think> <tool_call> </tool_call>")
    with running_server(str(folder)) as base:
        yield base


def ask(base: str, script: str, **fields: Any) -> list[dict[str, Any]]:
    """Greedy but for what the script can't say, of which all is as likely."""
    given = {"temperature": 0.1, "seed": 1, "max_tokens": 60, "tools": TOOLS, **fields}
    answer = chat(base, script, **given)
    assert answer.status_code == 200, answer.text
    return [choice["message"] for choice in answer.json()["choices"]]


def arguments_of(message: dict[str, Any], name: str) -> Any:
    (call,) = message["tool_calls"]
    assert call["function"]["name"] == name
    return json.loads(call["function"]["arguments"])


def test_arguments_are_kept_to_their_schema(server: str) -> None:
    found = ask(server, "wrong", n=20)
    given = [arguments_of(message, "weather") for message in found]
    for arguments in given:
        jsonschema.validate(arguments, WEATHER)
    assert len({json.dumps(arguments) for arguments in given}) > 2
    assert {message["reasoning_content"] for message in found} == {"Well"}
    assert all(message["content"].startswith("So.") for message in found)


def test_without_strict_they_are_the_models(server: str) -> None:
    function = {**TOOLS[0]["function"], "strict": False}
    (message,) = ask(server, "wrong", tools=[{"type": "function", "function": function}])
    assert arguments_of(message, "weather") == {"city": "Bergen", "days": "three"}


def test_all_else_is_free(server: str) -> None:
    assert ask(server, "plain") == [{"role": "assistant", "content": "No call {at all}"}]
    assert ask(server, "wrong", tool_choice="none")[0]["content"].endswith("</tool_call>")


def test_other_tools_have_any_arguments(server: str) -> None:
    (message,) = ask(server, "free")
    assert arguments_of(message, "note") == {"anything": [1, "x"]}


def test_openais_client_parses_a_stream(server: str) -> None:
    client = OpenAI(base_url=f"{server}/v1", api_key="none")
    (model,) = client.models.list().data
    messages: Any = [{"role": "user", "content": "wrong"}]
    # Where the script can't be followed, the answer ends as soon as it may.
    (end,) = httpx.post(f"{server}/tokenize", json={"prompt": "<eos>"}).json()["tokens"]
    given: dict[str, Any] = {"tools": TOOLS[:1], "temperature": 0, "logit_bias": {str(end): 0.5}}
    with client.chat.completions.stream(model=model.id, messages=messages, **given) as stream:
        (choice,) = stream.get_final_completion().choices
    (call,) = choice.message.tool_calls or ()
    jsonschema.validate(call.function.parsed_arguments, WEATHER)


def strictly(**parameters: Any) -> list[dict[str, Any]]:
    function = {"name": "f", "parameters": parameters, "strict": True}
    return [{"type": "function", "function": function}]


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"tools": strictly(properties={"a": {"not": {}}})}, "tools", "'not' at $.properties.a"),
        ({"tools": strictly(title="a" * 2**17)}, "tools", "bytes"),
        ({"stop": ["a"]}, "stop", "joined"),
    ],
)
def test_what_is_refused(server: str, fields: dict[str, Any], param: str, said: str) -> None:
    response = chat(server, "plain", **{"tools": TOOLS, **fields})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param), error
    assert said in error["message"]


@pytest.mark.parametrize(
    ("special", "marks"),
    [
        (["<tool_call>"], "<tool_call> </tool_call>"),  # which no form can have
        (["<think>"], "<think> <tool_call> </tool_call>"),
        ([], "[TOOL_CALLS] [ARGS]"),  # calls that are not known to be written in one way
    ],
)
def test_models_that_can_not_be_kept_to_schemas(
    tmp_path: Path, special: list[str], marks: str
) -> None:
    save_scripts(tmp_path, {"plain": ["Just"]}, special, marks)
    with running_server(str(tmp_path)) as base:
        response = chat(base, "plain", tools=[TOOLS[1], TOOLS[0]])
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, "tools[1].function.strict"), error
        assert "tool_choice" in error["message"]
        (model,) = httpx.get(f"{base}/v1/models").json()["data"]
        assert {"tools", "forced_tools"} <= set(model["features"])
        assert "strict_tools" not in model["features"]
