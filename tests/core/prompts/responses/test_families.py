"""What each family writes, in the form that its documentation gives, is taken apart: whole, and in
pieces of any length."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from octavo.core.prompts.responses.answer_parser import AnswerParser
from octavo.core.prompts.responses.response_template import ResponseTemplate
from octavo.core.prompts.responses.skipped_texts import SkippedTexts
from octavo.core.registry.registry import get_registry

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "exact": {"type": "boolean"},
                    "places": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    }
    for name in ("weather", "get_time")
]
PARIS = ("weather", {"city": 'Paris, "the" <city>', "days": 3})
OSLO = ("get_time", {"city": "Oslo", "exact": True, "places": ["a", "b"]})
JSON = [json.dumps(arguments, ensure_ascii=False) for _, arguments in (PARIS, OSLO)]
IN_TAGS = json.dumps(OSLO[1]["places"])

#: By template: what the model writes besides, and between, two calls.
WRITTEN: dict[str, str] = {
    "hermes": (
        '<tool_call>\n{"name": "weather", "arguments": {A}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_time", "arguments": {B}}\n</tool_call>'
    ),
    "qwen-xml": (
        '<tool_call>\n<function=weather>\n<parameter=city>\nParis, "the" <city>\n</parameter>\n'
        "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=get_time>\n<parameter=city>\nOslo\n</parameter>\n"
        "<parameter=exact>\ntrue\n</parameter>\n<parameter=places>\nPLACES\n</parameter>\n"
        "</function>\n</tool_call>"
    ),
    "glm": (
        "<tool_call>weather\n<arg_key>city</arg_key>\n"
        '<arg_value>Paris, "the" <city></arg_value>\n'
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>\n"
        "<tool_call>get_time\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n"
        "<arg_key>exact</arg_key>\n<arg_value>true</arg_value>\n"
        "<arg_key>places</arg_key>\n<arg_value>PLACES</arg_value>\n</tool_call>"
    ),
    "mistral": '[TOOL_CALLS][{"name": "weather", "arguments": {A}}, '
    '{"name": "get_time", "arguments": {B}}]',
    "mistral-args": "[TOOL_CALLS]weather[ARGS]{A}[TOOL_CALLS]get_time[ARGS]{B}",
    "granite": '<|tool_call|>[{"name": "weather", "arguments": {A}}, '
    '{"name": "get_time", "arguments": {B}}]',
    "deepseek-v3": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{A}\n```"
        "<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_time\n```json\n{B}\n```"
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
    "deepseek-v31": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{A}<｜tool▁call▁end｜>"
        "<｜tool▁call▁begin｜>get_time<｜tool▁sep｜>{B}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
    "pythonic": (
        """[weather(city='Paris, "the" <city>', days=3), """
        "get_time(city='Oslo', exact=True, places=['a', \"b\"])]"
    ),
    "gemma4": (
        '<|tool_call>call:weather{city:<|"|>Paris, "the" <city><|"|>,days:3}<tool_call|>'
        '<|tool_call>call:get_time{city:<|"|>Oslo<|"|>,exact:true,'
        'places:[<|"|>a<|"|>,<|"|>b<|"|>]}<tool_call|>'
    ),
    "function-gemma": (
        '<start_function_call>call:weather{city:<escape>Paris, "the" <city><escape>,days:3}'
        "<end_function_call><start_function_call>call:get_time{city:<escape>Oslo<escape>,exact:true,"
        "places:[<escape>a<escape>,<escape>b<escape>]}<end_function_call>"
    ),
    "llama-json": '{"name": "weather", "parameters": {A}}',
}
#: Those whose calls are an answer alone.
ALONE = {"llama-json", "pythonic"}


def calls_of(name: str) -> str:
    """Both calls, or the one that fits."""
    text = WRITTEN[name].replace("PLACES", IN_TAGS)
    # Arguments as JSON stand for themselves.
    return text.replace("{A}", JSON[0]).replace("{B}", JSON[1])


def take_apart(name: str, text: str, step: int, begun: str = "", tools: Any = TOOLS) -> Any:
    """Content, thoughts and calls; in pieces of so many characters."""
    spec = get_registry().response_templates[name]
    template = ResponseTemplate(name, spec.template)
    parser = AnswerParser(template, begun, SkippedTexts(["<eos>"]), tools, one_call=False)
    content, reasoning, calls = "", "", []
    pieces = [text[i : i + step] for i in range(0, len(text), step)] or [""]
    for i, piece in enumerate(pieces):
        parts = parser.feed(piece, last=i == len(pieces) - 1)
        content, reasoning = content + parts.content, reasoning + parts.reasoning
        calls += [(call.name, json.loads(call.arguments)) for call in parts.calls]
    assert parser.num_calls == len(calls)
    return content, reasoning, calls


@pytest.mark.parametrize("step", [1, 3, 10**6])
@pytest.mark.parametrize("name", WRITTEN)
def test_calls_are_told(name: str, step: int) -> None:
    expected = [PARIS] if name == "llama-json" else [PARIS, OSLO]
    before = "" if name in ALONE else "I look <it> up.\n\n"
    content, _, calls = take_apart(name, before + calls_of(name), step)
    assert calls == expected
    assert content == before.strip()


@pytest.mark.parametrize("step", [1, 10**6])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_call_that_breaks_off_is_content_as_it_was_written(name: str, step: int) -> None:
    whole = calls_of(name)
    for end in range(1, len(whole)):
        content, _, calls = take_apart(name, whole[:end], step)
        assert calls == [PARIS, OSLO][: len(calls)]
        # Nothing is lost: what is no call is content, from where the last call ended.
        told = whole[:end]
        assert content == told if not calls else told.endswith(content), (end, content)


def test_nothing_is_a_call_where_no_tools_are_given() -> None:
    for name in WRITTEN:
        text = f"See: {calls_of(name)}\n"
        assert take_apart(name, text, 3, tools=[]) == (text, "", [])


@pytest.mark.parametrize("step", [1, 2, 10**6])
def test_thoughts_and_answer_are_never_mixed(step: int) -> None:
    call = calls_of("hermes")
    assert take_apart("hermes", "<think>\nHm <b>.\n</think>\n\nYes.\n", step) == (
        "Yes.\n",
        "Hm <b>.",
        [],
    )
    # The prompt may have opened them, or closed them again.
    for begun, text in (
        ("<think>\n", f"Hm.\n</think>\n\n{call}"),
        ("", f"<think>Hm.</think>{call}"),
    ):
        assert take_apart("hermes", text, step, begun) == ("", "Hm.", [PARIS, OSLO])
    assert take_apart("hermes", "Yes.", step, "<think>\n\n</think>\n\n") == ("Yes.", "", [])
    # A limit in the midst of thoughts leaves no answer.
    assert take_apart("hermes", "<think>Hm, <too", step) == ("", "Hm, <too", [])
    assert take_apart("mistral", "[THINK]Hm.[/THINK]Yes.", step) == ("Yes.", "Hm.", [])
    assert take_apart("gemma4", "<|channel>thought\nHm.<channel|>Yes.", step) == ("Yes.", "Hm.", [])


@pytest.mark.parametrize("step", [1, 10**6])
def test_malformed_calls_are_content(step: int) -> None:
    good = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>'
    for bad in (
        "<tool_call>{name}</tool_call>",
        '<tool_call>{"name": "weather", "arguments": [1]}</tool_call>',
        '<tool_call>{"arguments": {}}</tool_call>',
        "<tool_call></tool_call>",
    ):
        expected = ("A\n" + bad, "", [("weather", {})])
        assert take_apart("hermes", f"A\n{bad}\n{good}", step) == expected
        content, _, calls = take_apart("hermes", f"{good}\n{bad} B", step)
        assert (content, calls) == (f"{bad} B", [("weather", {})])


@pytest.mark.parametrize("step", [1, 10**6])
def test_special_tokens_that_are_no_marks_are_left_out(step: int) -> None:
    assert take_apart("hermes", "A<eos> <eo <eos", step) == ("A <eo <eos", "", [])
    call = '<tool_call>{"name": "weather", "arguments": {}}<eos></tool_call><eos>'
    assert take_apart("hermes", call, step) == ("", "", [("weather", {})])


@pytest.mark.parametrize("name", WRITTEN)
def test_a_model_that_repeats_itself_costs_little(name: str) -> None:
    """No part of a text is looked at again and again, however long it grows."""
    started = time.process_time()
    for text in ("\n", " <", "<｜tool▁calls▁begin｜>", "<tool_call>", "["):
        take_apart(name, "A" + text * (12_000 // len(text)), len(text))
    assert time.process_time() - started < 20
