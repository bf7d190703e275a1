"""Answers that must be calls, sampled from a model that knows nothing of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from octavo.app.http.chat.forced_calls import ForcedCalls
from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel
from scripted_checkpoint import save_scripts
from serving import chat, running_server

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"$ref": "#/$defs/city"},
        "days": {"type": "integer", "minimum": 0, "maximum": 9},
        "exact": {"type": "boolean"},
    },
    "required": ["city", "days", "exact"],
    "additionalProperties": False,
    "$defs": {"city": {"enum": ["Oslo", 'Paris, "the" <city>']}},
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "weather", "parameters": WEATHER, "strict": True}},
    {"type": "function", "function": {"name": "nothing"}},
]
NAMED = {"type": "function", "function": {"name": "weather"}}


class Colour(BaseModel):
    """A colour."""

    red: bool
    green: bool


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("scripted")
    save_scripts(folder, {"a": ["b"]}, [], "<tool_call> </tool_call>")
    with running_server(str(folder)) as base:
        yield base


def choices(base: str, **fields: Any) -> list[dict[str, Any]]:
    given = {"temperature": 1, "seed": 1, "max_tokens": 300, "tools": TOOLS, **fields}
    answer = chat(base, "a", **given)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["choices"]
    return found


def test_a_named_function_is_called(server: str) -> None:
    found = choices(server, n=40, tool_choice=NAMED)
    assert (
        len({choice["message"]["tool_calls"][0]["function"]["arguments"] for choice in found}) > 9
    )
    for choice in found:
        (call,) = choice["message"]["tool_calls"]
        assert call["function"]["name"] == "weather"
        jsonschema.validate(json.loads(call["function"]["arguments"]), WEATHER)
        assert choice["message"]["content"] is None
        assert choice["finish_reason"] == "stop"


def test_arguments_are_an_object_if_their_schema_does_not_say_so(server: str) -> None:
    parameters = {"properties": {"exact": {"type": "boolean"}}, "additionalProperties": False}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    for choice in choices(server, n=20, tool_choice=NAMED, tools=tools):
        (call,) = choice["message"]["tool_calls"]
        assert isinstance(json.loads(call["function"]["arguments"]), dict)


@pytest.mark.parametrize("parallel", [False, None])
def test_some_function_is_called(server: str, parallel: bool | None) -> None:
    found = choices(
        server, n=20, tool_choice="required", parallel_tool_calls=parallel, max_tokens=1000
    )
    names = set()
    for choice in found:
        if choice["finish_reason"] == "length":  # of a list without an end
            assert parallel is None
            assert "tool_calls" not in choice["message"]
            continue
        calls = [call["function"] for call in choice["message"]["tool_calls"]]
        assert choice["finish_reason"] == "tool_calls"
        assert parallel is None or len(calls) == 1
        for call in calls:
            arguments = json.loads(call["arguments"])
            names.add(call["name"])
            if call["name"] == "weather":
                jsonschema.validate(arguments, WEATHER)
            else:
                assert arguments == {}
    assert names == {"weather", "nothing"}


def test_openais_client_parses_a_forced_call(server: str) -> None:
    client = OpenAI(base_url=f"{server}/v1", api_key="none")
    (model,) = client.models.list().data
    named: Any = {"type": "function", "function": {"name": "Colour"}}
    messages: Any = [{"role": "user", "content": "a"}]
    asked: dict[str, Any] = {"model": model.id, "messages": messages, "tool_choice": named}
    asked |= {"tools": [pydantic_function_tool(Colour)], "max_tokens": 300, "seed": 2}
    completion = client.chat.completions.parse(**asked)
    (call,) = completion.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Colour)
    with client.chat.completions.stream(**asked) as stream:
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Colour)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"tools": None, "tool_choice": "required"}, "tool_choice", "no tools"),
        ({"tool_choice": "always"}, "tool_choice", ""),
        ({"tool_choice": {"name": "weather"}}, "tool_choice", "function"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "wether"}}},
            "tool_choice.function.name",
            "no tool is called 'wether'; there are weather, nothing",
        ),
        ({"tool_choice": NAMED, "response_format": {"type": "json_object"}}, None, "joined"),
        ({"tool_choice": NAMED, "stop": ["a"]}, "stop", "joined"),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "a", "parameters": {"title": "a" * 2**17}},
                    }
                ],
                "tool_choice": "required",
            },
            "tools",
            "bytes",
        ),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "weather", "parameters": {"not": {}}},
                    }
                ],
                "tool_choice": NAMED,
            },
            "tools",
            "'not'",
        ),
    ],
)
def test_what_can_not_be_forced_is_named(
    server: str, fields: dict[str, Any], param: str | None, words: str
) -> None:
    answer = chat(server, "a", **{"tools": TOOLS, **fields})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert param is None or error["param"] == param
    assert words in error["message"]


def test_references_mean_the_same_in_the_list(server: str) -> None:
    recursive = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    tools = [{"function": {"name": "a", "parameters": WEATHER}}]
    tools += [{"function": {"name": "b", "parameters": recursive}}]
    schema = json.loads(ForcedCalls(tools, "required", one_call=True).form.source.text)
    jsonschema.Draft202012Validator.check_schema(schema)
    for arguments, valid in (({"next": {"next": None}}, True), ({"next": {"next": 1}}, False)):
        call = [{"name": "b", "arguments": arguments}]
        assert jsonschema.Draft202012Validator(schema).is_valid(call) is valid
