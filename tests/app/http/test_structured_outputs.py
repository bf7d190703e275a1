"""Answers in a form, over HTTP: which fields ask for one, and what is refused by its place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from octavo.app import DEMO_MODEL
from openai import OpenAI
from scripted_checkpoint import save_scripts
from serving import chat, running_server
from tokenizers import Tokenizer

TOKENIZER = Tokenizer.from_file(str(Path(DEMO_MODEL, "tokenizer.json")))
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
SAMPLED = {"temperature": 1.5, "seed": 5, "max_tokens": 200}


def content(answer: dict[str, Any]) -> str:
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "stop"
    found: str = choice["message"]["content"]
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"schema": PERSON}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "person", "strict": True, "schema": PERSON},
            }
        },
        {"structured_outputs": {"json": PERSON}},
        {"structured_outputs": {"json": json.dumps(PERSON), "disable_fallback": True}},
        {"guided_json": PERSON},
        {"guided_json": json.dumps(PERSON)},
        {"structured_outputs": {"grammar": f"start: %json {json.dumps(PERSON)}"}},
    ],
)
def test_every_way_to_give_a_schema(demo_server: str, fields: dict[str, Any]) -> None:
    answer = chat(demo_server, **SAMPLED, **fields).json()
    jsonschema.validate(json.loads(content(answer)), PERSON)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"response_format": {"type": "text"}}, "Hello! Show me"),
        ({"response_format": None, "structured_outputs": None}, "Hello! Show me"),
        ({"structured_outputs": {"regex": r"\\d[.]\\d", "choice": None}}, r"\\d[.]\\d$"),
        ({"structured_outputs": {"choice": ["no cat", "no dog"]}}, "no (cat|dog)$"),
        ({"structured_outputs": {"grammar": 'root ::= "yes" | "no"'}}, "(yes|no)$"),
        (
            {"response_format": {"type": "json_object", "schema": {"enum": ["ab", 3]}}},
            '("ab"|3)$',
        ),
        (
            {
                "response_format": {
                    "type": "structural_tag",
                    "structures": [{"begin": "Hello", "schema": {"const": 1}, "end": "!"}],
                    "triggers": ["Hello"],
                }
            },
            "Hello1!",
        ),
    ],
)
def test_other_forms(demo_server: str, fields: dict[str, Any], expected: str) -> None:
    answer = chat(demo_server, temperature=0, max_tokens=40, **fields)
    assert answer.status_code == 200
    text = answer.json()["choices"][0]["message"]["content"]
    assert re.match(expected, text)


def test_a_json_object_and_its_usage(demo_server: str) -> None:
    """The token that completes an object is part of it: no other has to follow."""
    asked = {"response_format": {"type": "json_object"}, "logit_bias": {}, "logprobs": True}
    body = chat(demo_server, **{**SAMPLED, "seed": 1}, **asked).json()
    (choice,) = body["choices"]
    tokens = choice["logprobs"]["content"]
    assert "".join(bytes(t["bytes"]).decode() for t in tokens) == choice["message"]["content"]
    assert choice["message"]["content"].startswith("{")
    assert len(tokens) == body["usage"]["completion_tokens"]


def test_a_stream_and_openais_own_client(demo_server: str) -> None:
    client = OpenAI(base_url=f"{demo_server}/v1", api_key="none")
    stream = client.chat.completions.create(
        model="octavo-demo",
        messages=[{"role": "user", "content": "Hello"}],
        temperature=1.5,
        seed=3,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "person", "strict": True, "schema": PERSON},
        },
        stream=True,
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    jsonschema.validate(json.loads(text), PERSON)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_each_of_several_answers_has_the_form(demo_server: str) -> None:
    body = chat(demo_server, n=3, guided_regex="[a-z]{3}", **SAMPLED).json()
    texts = [choice["message"]["content"] for choice in body["choices"]]
    assert all(len(text) == 3 and text.isalpha() for text in texts)
    assert len(set(texts)) > 1


def test_the_limit_of_tokens_cuts_a_form(demo_server: str) -> None:
    body = chat(demo_server, guided_regex="[a-z]{300}", max_tokens=3, temperature=0).json()
    assert body["choices"][0]["finish_reason"] == "length"


def schema(**given: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"schema": given}}}


SCHEMA = "response_format.json_schema.schema"


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        (schema(properties={"a": {"not": {}}}), SCHEMA, "'not' at $.properties.a"),
        (schema(items={"uniqueItems": True}), SCHEMA, "'uniqueItems' at $.items"),
        (schema(properties={"a": {"format": "zzz"}}), SCHEMA, "$.properties.a"),
        (schema(anyOf=[{"pattern": "(?=a)"}]), SCHEMA, "$.anyOf[0]"),
        (schema(properties={"a": {"$ref": "#/$defs/b"}}), SCHEMA, "$.properties.a"),
        (schema(type="object", minProperties=3, maxProperties=2), SCHEMA, "at $"),
        (schema(items={"oneOf": [{}, {"type": "null"}]}), SCHEMA, "'oneOf' is honoured only where"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "needs"),
        ({"response_format": {}}, "response_format.type", "type"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
            "response_format.json_schema.schema",
            "missing",
        ),
        (
            {"response_format": {"type": "text", "json_schema": {}}},
            "response_format.json_schema",
            "type text",
        ),
        (
            {"response_format": {"type": "json_object", "zzz": 1}},
            "response_format.zzz",
            "no field",
        ),
        (
            {"response_format": {"type": "structural_tag", "format": {}}},
            "response_format.format",
            "structures",
        ),
        ({"guided_json": {"if": {}}}, "guided_json", "'if' at $"),
        ({"guided_json": "{"}, "guided_json", "no JSON"),
        ({"guided_regex": "a(?<!b)"}, "guided_regex", "guided_regex"),
        ({"guided_regex": ""}, "guided_regex", "empty"),
        ({"guided_choice": ["a", ""]}, "guided_choice[1]", "must be a text"),
        ({"guided_grammar": "start: <[5]>"}, "guided_grammar", "special tokens"),
        ({"guided_grammar": "start: %zzz"}, "guided_grammar", ""),
        ({"structured_outputs": {}}, "structured_outputs", "exactly one"),
        (
            {"structured_outputs": {"json": {}, "regex": "a"}},
            "structured_outputs",
            "json and regex",
        ),
        ({"structured_outputs": {"lark": "start: <[5]>"}}, "structured_outputs.lark", "no field"),
        ({"structured_outputs": {"regex": 5}}, "structured_outputs.regex", "a string"),
        (
            {"structured_outputs": {"json": {}, "whitespace_pattern": " "}},
            "structured_outputs.whitespace_pattern",
            "white space",
        ),
        (
            {"structured_outputs": {"structural_tag": {"triggers": []}}},
            "structured_outputs.structural_tag",
            "structures",
        ),
        ({"guided_regex": "a", "guided_json": {}}, "guided_regex", "guided_json"),
        (
            {"response_format": {"type": "json_object"}, "guided_regex": "a"},
            "guided_regex",
            "response_format",
        ),
        ({"guided_regex": "a", "stop": "b"}, "stop", "structured_outputs"),
        ({"guided_regex": "a", "min_tokens": 1}, "min_tokens", "structured_outputs"),
        ({"guided_regex": "a", "ignore_eos": True}, "ignore_eos", "structured_outputs"),
        ({"guided_decoding_backend": "outlines"}, "guided_decoding_backend", "operator"),
    ],
)
def test_what_is_refused(demo_server: str, fields: dict[str, Any], param: str, said: str) -> None:
    response = chat(demo_server, max_tokens=5, **fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param, error
    assert said in error["message"], error


def test_a_form_that_gets_too_complex_is_the_clients_fault(demo_server: str) -> None:
    """Though it could be compiled."""
    grammar = 'start: x\nx: "a" | x x | x x x'
    ends = {str(TOKENIZER.token_to_id("<|end|>")): -100}
    response = chat(demo_server, guided_grammar=grammar, logit_bias=ends, max_tokens=400)
    error = response.json()["error"]
    assert response.status_code == 400, error
    assert "too many ways" in error["message"]


def test_an_answer_in_a_form_is_not_searched_for_thoughts(tmp_path: Path) -> None:
    """Nor for calls, which tools beside it would ask for."""
    thought = {"open": "{", "close": "}", "content": "text"}
    template = tmp_path / "template.json"
    fields = {"reasoning_content": thought, "content": {"content": "text"}}
    template.write_text(json.dumps({"fields": fields}))
    with running_server(f"--response-template={template}", "--kv-cache-memory=16MiB") as base:
        body = chat(base, guided_regex="\\{[ab]\\}!", max_tokens=9).json()
        assert body["choices"][0]["message"]["content"] in ("{a}!", "{b}!")
        message = chat(base, allowed_token_ids=[TOKENIZER.token_to_id("{")], max_tokens=3).json()
        assert message["choices"][0]["message"]["reasoning_content"] == "{{"


def test_tools_are_refused_beside_a_form(tmp_path: Path) -> None:
    save_scripts(tmp_path, {"plain": ["Just"]}, [], "<tool_call> </tool_call>")
    tools = [{"type": "function", "function": {"name": "weather"}}]
    with running_server(str(tmp_path)) as base:
        error = chat(base, tools=tools, guided_regex="a").json()["error"]
        assert error["param"] == "tools"
        assert "guided_regex" in error["message"]
