"""What the built-in grammar backend refuses, and that nothing makes it compute for long."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import jsonschema
import numpy as np
import pytest
from octavo.plugin import GrammarError, GrammarSource
from octavo.plugins.grammars.llguidance.backend import LLGuidanceBackend

#: CPU seconds that a form may take; what is measured is a tenth of it or less.
#: Ten times what is aimed at: processors differ, and share their caches with others.
MOST_SECONDS = 10.0
SAME = {"type": "string"}


def schema(**given: Any) -> GrammarSource:
    return GrammarSource("json", json.dumps(given))


def grammar(text: str) -> GrammarSource:
    return GrammarSource("grammar", text)


def regex(text: str) -> GrammarSource:
    return GrammarSource("regex", text)


def rules(count: int, body: str) -> GrammarSource:
    """Of which each is made of the next."""
    lines = [f"a{i}: {body.format(i + 1)}" for i in range(count)]
    return grammar("\n".join(["start: a0", *lines, f'a{count}: "x"']))


BOMBS = {
    "nested quantifiers": regex("((((a{1,100}){1,100}){1,100}){1,100})"),
    "backtracking": regex("(a|a?)+(b|b?){1,1000}c"),
    "exponential automaton": regex(".*a.{60}"),
    "exponential automata": regex("(.*a.{20}){20}"),
    "many alternatives": regex("|".join(f"{i * 7919 % 100003}" for i in range(15_000))),
    "parentheses": regex("(" * 20_000 + "a" + ")" * 20_000),
    "stars": regex("(?:a*)*" * 3000),
    "letters": regex(r"\p{L}{1,1000}\p{Lu}{1,1000}x"),
    "choices": GrammarSource("choice", json.dumps([f"v{i}x" for i in range(12_000)])),
    "enum": schema(enum=[f"v{i}x" for i in range(12_000)]),
    "patterns": schema(properties={f"p{i}": {"pattern": "^[a-z]{1,50}$"} for i in range(1200)}),
    "optional properties": schema(properties={f"p{i}": SAME for i in range(1000)}),
    "anyOf": schema(anyOf=[{"properties": {"k": {"const": i}}} for i in range(1500)]),
    "oneOf": schema(oneOf=[{"type": "string", "pattern": f"^a{i}"} for i in range(300)]),
    "allOf": schema(allOf=[{"type": "string", "pattern": f"a{i}.*b"} for i in range(12)]),
    "doubled references": GrammarSource(
        "json",
        json.dumps(
            {
                "$ref": "#/$defs/a0",
                "$defs": {
                    f"a{i}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/a{i + 1}"}] * 2}
                    for i in range(60)
                }
                | {"a60": {"type": "null"}},
            }
        ),
    ),
    "itself": GrammarSource("json", '{"$ref": "#"}'),
    "items": schema(type="array", items=SAME, minItems=10**6),
    "length": schema(type="string", minLength=10**7),
    "multiple": schema(type="number", multipleOf=0.9973),
    "doubled rules": rules(60, "a{0} a{0} | a{0}"),
    "ambiguous": grammar('start: start start | "a" | ""'),
    "repeated rules": grammar('start: s{0,1000}\ns: t{0,1000}\nt: "a"{0,1000}'),
    "nothing": grammar("start: start"),
    "chain": rules(5000, "a{0}"),
    "complements": grammar("start: A\nA: /[a-z]{1,100}/ & ~/.*(foo|bar).{20}/ & ~/.*x.{18}/"),
    "GBNF": grammar("root ::= " + " | ".join(f'"a{i}"' for i in range(1500))),
}


def vocabulary() -> list[bytes]:
    """Bytes, and 8,000 words and parts of JSON."""
    draw = random.Random(0)
    words = {
        "".join(draw.choices('etaoinshrdlu {}[]",:', k=draw.randint(2, 6))).encode()
        for _ in range(8000)
    }
    return [bytes([byte]) for byte in range(256)] + sorted(words)


TOKENS = vocabulary()


@pytest.fixture(scope="module")
def backend() -> LLGuidanceBackend:
    return LLGuidanceBackend(TOKENS)


@pytest.mark.parametrize("name", BOMBS)
def test_grammar_bombs_are_bounded(backend: LLGuidanceBackend, name: str) -> None:
    """To be refused, to be compiled, and for each token of an answer."""
    source = BOMBS[name]
    start = time.process_time()
    try:
        backend.check(source)
        matcher = backend.compile(source).matcher()
    except GrammarError:
        assert time.process_time() - start < MOST_SECONDS
        return
    assert time.process_time() - start < MOST_SECONDS
    draw = random.Random(0)
    for _ in range(20):
        start = time.process_time()
        mask = backend.mask([matcher])
        assert time.process_time() - start < MOST_SECONDS / 4
        allowed = np.flatnonzero(np.unpackbits(mask.bitmask.view(np.uint8), bitorder="little"))
        known = [token_id for token_id in allowed if token_id < len(TOKENS)]
        if mask.errors[0] is not None or not known:
            break
        try:
            assert matcher.accept(int(draw.choice(known)))
        except GrammarError:
            break


def test_an_answer_that_can_be_read_in_ever_more_ways_is_given_up(
    backend: LLGuidanceBackend,
) -> None:
    """Each token alone is within bounds."""
    matcher = backend.compile(grammar('start: x\nx: "a" | x x | x x x')).matcher()
    start = time.process_time()
    with pytest.raises(GrammarError, match="too many ways"):
        all(matcher.accept(ord("a")) for _ in range(10**5))
    assert time.process_time() - start < MOST_SECONDS


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"not": {"type": "null"}}, "'not' at $ "),
        ({"items": {"contains": {}}}, "'contains' at $.items "),
        ({"anyOf": [{}, {"dependentRequired": {}}]}, "'dependentRequired' at $.anyOf[1] "),
        ({"$defs": {"a": {"if": {}}}, "$ref": "#/$defs/a"}, "'if' at $.$defs.a "),
        ({"x-guidance": {"lenient": True}}, "'x-guidance' at $ "),
        ({"properties": {"a": {"type": "strin"}}}, "at $.properties.a.type"),
        ({"items": {"type": "string", "pattern": "a(?=b)"}}, "at $.items.pattern"),
        ({"prefixItems": [{"type": "string", "format": "z"}]}, "at $.prefixItems[0].format"),
        ({"items": {"type": "string", "format": "unknown"}}, "at $.items.format"),
        ({"patternProperties": {"^a": {"pattern": "("}}}, "at $.patternProperties.^a.pattern"),
        ({"multipleOf": 0}, "at $.multipleOf"),
        ({"anyOf": [{"$ref": "https://example.com/schema"}]}, "at $.anyOf[0].$ref"),
        ({"items": {"oneOf": [{}, {"const": 1}]}}, "at $.items.oneOf"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "at $.m"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "at $."),
        ({"items": {"multipleOf": 0.123457}}, "'multipleOf' at $.items"),
    ],
)
def test_what_a_schema_cannot_say_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(GrammarError) as raised:
        LLGuidanceBackend.check(schema(**given))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("start: <[5]>", "special tokens"),
        ("start: <|im_end|>", "special tokens"),
        ('start: a\na[max_tokens=5]: "x"', "'max_tokens' is not honoured"),
        ('start[temperature=0.5]: "x"', "'temperature' is not honoured"),
        ('start: %json {"not": {}}', "'not' at $"),
        ("start: %json {", "no JSON"),
        ("start: zzz", "zzz"),
        ("root ::= zzz", "GBNF"),
    ],
)
def test_what_a_grammar_cannot_say_is_named(text: str, said: str) -> None:
    with pytest.raises(GrammarError) as raised:
        LLGuidanceBackend.check(grammar(text))
    assert said in str(raised.value)


def test_text_that_looks_like_special_tokens_is_text() -> None:
    for text in ('start: "<[5]>"', "start: /<[a-z]+>/", 'start: "a" // <[5]>'):
        LLGuidanceBackend.check(grammar(text))


@pytest.mark.parametrize(
    ("given", "good", "wrong"),
    [
        (
            {"format": "date"},
            ["2016-02-29", "2000-02-29", "0001-12-31", "1900-02-28"],
            ["2015-02-29", "1900-02-29", "0000-01-01", "2016-02-30", "2015-04-31"],
        ),
        (
            {"format": "date-time"},
            ["2016-12-31T23:59:59Z", "2016-02-29t00:00:00.5+01:00"],
            ["2016-12-31T23:15:60Z", "2015-02-29T00:00:00Z", "0000-06-30T04:42:43Z"],
        ),
        ({"format": "time"}, ["23:59:59Z", "00:00:00.5+01:00"], ["23:59:60Z", "24:00:00Z"]),
        (
            {"format": "time", "pattern": "^2", "allOf": [{"maxLength": 9}]},
            ["23:59:59Z"],
            ["13:59:59Z", "23:59:59.5Z", "23:59:60Z"],
        ),
        # What is no string has no format.
        ({"anyOf": [{"type": "integer"}, {"type": "string"}], "format": "time"}, [7], ["7"]),
    ],
)
def test_dates_and_times_are_those_of_the_calendar(
    given: dict[str, Any], good: list[Any], wrong: list[Any]
) -> None:
    """As jsonschema has them."""
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    assert {"date", "time", "date-time"} <= checker.checkers.keys()
    validator = jsonschema.Draft202012Validator(given, format_checker=checker)
    grammar = LLGuidanceBackend([bytes([byte]) for byte in range(256)]).compile(schema(**given))
    for value in (*good, *wrong):
        matcher = grammar.matcher()
        accepted = all(matcher.accept(byte) for byte in json.dumps(value).encode())
        assert (accepted and matcher.may_end) == (value in good), value
        assert validator.is_valid(value) == (value in good), value
