"""Answers that a model with random logits gives under grammars, with tokenizers of each kind.

Truth is what independent readers say of the answers' texts: jsonschema, Python's re, and json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from octavo.app import DEMO_MODEL
from octavo.core.checkpoints.checkpoint import Checkpoint
from octavo.core.engine.execution.grammars.compiler import GrammarCompiler
from octavo.core.engine.execution.sampler import Sampler
from octavo.core.engine.scheduling.request import Request
from octavo.core.prompts.grammar_check import GrammarCheck
from octavo.core.prompts.tokenizer import Tokenizer
from octavo.core.prompts.vocabulary import Vocabulary
from octavo.core.protocol.constraints.structured_outputs import StructuredOutputsParams
from octavo.core.protocol.messages import EngineRequest
from octavo.core.protocol.request_error import RequestError
from octavo.core.protocol.sampling_params import SamplingParams
from octavo.core.registry.registry import get_registry
from octavo.kernels.dispatch import resolve_kernels
from tokenizer_kinds import TIDIED, save_tokenizers

SPEC = get_registry().grammar_by_name("llguidance")
KERNELS = resolve_kernels()
LIMIT = 400
EOS = 1
FREE = ("demo", "byte_level", "llama", "gemma", "metaspace")

SCHEMAS: dict[str, dict[str, Any]] = {
    "integer": {"type": "integer"},
    "bounded integer": {"type": "integer", "minimum": -12, "exclusiveMaximum": 305},
    "number": {"type": "number", "minimum": 0.5, "maximum": 99.25},
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 1000},
    "boolean or null": {"type": ["boolean", "null"]},
    "string": {"type": "string", "minLength": 2, "maxLength": 6},
    "pattern": {"type": "string", "pattern": "^[A-F]{2}-\\d{3}$"},
    "open pattern": {"type": "string", "pattern": "q", "maxLength": 5},
    "date": {"type": "string", "format": "date"},
    "date-time": {"type": "string", "format": "date-time"},
    "time": {"type": "string", "format": "time"},
    "duration": {"type": "string", "format": "duration"},
    "hostname": {"type": "string", "format": "hostname"},
    "uri": {"type": "string", "format": "uri", "maxLength": 20},
    "ipv4": {"type": "string", "format": "ipv4"},
    "uuid": {"type": "string", "format": "uuid"},
    "enum": {"enum": ["naïve", "日本", 3, None, {"a": [1]}]},
    "const": {"const": {"déjà": "vu"}},
    "array": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4},
    "tuple": {"type": "array", "prefixItems": [{"const": 1}, {"type": "boolean"}], "items": False},
    "object": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}},
        "required": ["b"],
        "additionalProperties": False,
    },
    "additional": {
        "type": "object",
        "properties": {"id": {"enum": [1, 2]}},
        "required": ["id"],
        "additionalProperties": {"type": "boolean"},
        "maxProperties": 3,
    },
    "patternProperties": {
        "type": "object",
        "patternProperties": {"^x[0-9]$": {"type": "integer", "maximum": 9, "minimum": 0}},
        "additionalProperties": False,
    },
    "anyOf": {"anyOf": [{"type": "integer"}, {"const": "none"}]},
    "oneOf": {
        "oneOf": [{"type": "boolean"}, {"type": "array", "maxItems": 1, "items": {"const": 1}}]
    },
    "allOf": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"a": {"minimum": 3, "maximum": 5}, "b": {"type": "null"}}},
        ],
    },
    "nested": {
        "type": "object",
        "properties": {"p": {"type": "array", "items": {"$ref": "#/$defs/point"}, "maxItems": 2}},
        "required": ["p"],
        "additionalProperties": False,
        "$defs": {
            "point": {
                "type": "object",
                "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
                "required": ["x", "y"],
                "additionalProperties": False,
            }
        },
    },
    "recursive": {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "array",
                "maxItems": 2,
                "items": {"anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/tree"}]},
            }
        },
    },
    "any object": {"type": "object"},
}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    folders = save_tokenizers(tmp_path_factory.mktemp("tokenizers"))
    return {
        name: Tokenizer(Checkpoint(name, folder))
        for name, folder in {"demo": Path(DEMO_MODEL), **folders}.items()
    }


class Answers:
    """Of a model whose logits are random, and higher for what ends strings, numbers and lists."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        token_bytes = tokenizer.token_bytes
        entries = token_bytes._entries
        self.size = max(entries) + 20  # as models have more rows than the tokenizer has tokens
        self.vocabulary = Vocabulary.of(token_bytes, self.size)
        self.closing = torch.tensor(
            [4.0 * (spelled in (b'"', b"}", b"]", b",")) for spelled in self.vocabulary.tokens]
        )[: self.size]
        self.grammars = GrammarCompiler(SPEC, lambda: self.vocabulary)

    def draw(self, form: StructuredOutputsParams, seeds: int) -> Iterator[tuple[str, list[int]]]:
        """The texts and tokens of answers that came to an end, one at most for each seed."""
        sampler = Sampler(
            torch.device("cpu"),
            KERNELS.sample_top_k_top_p,
            KERNELS.mask_tokens,
            [EOS],
            grammars=self.grammars,
        )
        for seed in range(seeds):
            params = SamplingParams(max_tokens=LIMIT, structured_outputs=form, seed=seed)
            (request,) = Request.fan_out(EngineRequest("r", [0], params, [], [], 0.0))
            sampler.add(request.announce())
            generator = torch.Generator().manual_seed(seed)
            ids: list[int] = []
            ended = False
            while not ended and len(ids) < LIMIT:
                logits = 2 * torch.randn(self.size, generator=generator) + self.closing
                sampled = sampler.sample(logits[None], [request.request_id])[request.request_id]
                assert sampled.failure is None
                ended = sampled.ended or sampled.token_ids == [EOS]
                ids += [] if sampled.token_ids == [EOS] else sampled.token_ids
            sampler.forget(request.request_id)
            if ended:
                yield self.tokenizer.decode(ids), ids


@pytest.fixture(scope="module")
def answers(tokenizers: dict[str, Tokenizer]) -> dict[str, Answers]:
    return {name: Answers(tokenizers[name]) for name in FREE}


@pytest.mark.parametrize("name", SCHEMAS)
def test_answers_are_what_their_schema_says(answers: dict[str, Answers], name: str) -> None:
    schema = SCHEMAS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    for kind in FREE:
        texts = [t for t, _ in answers[kind].draw(StructuredOutputsParams(json=schema), 4)]
        assert len(texts) >= 2, f"{kind}: answers don't end"
        for text in texts:
            validator.validate(json.loads(text))


@pytest.mark.parametrize("kind", FREE)
def test_other_forms(answers: dict[str, Answers], kind: str) -> None:
    forms: list[tuple[StructuredOutputsParams, Callable[[str], Any]]] = [
        (
            StructuredOutputsParams(regex="(naïve|[a-c]{1,3}): \\d+!"),
            lambda text: re.fullmatch(r"(naïve|[a-c]{1,3}): \d+!", text, re.ASCII),
        ),
        (StructuredOutputsParams(regex="日.|😀"), lambda text: re.fullmatch("日.|😀", text)),
        (StructuredOutputsParams(choice=("a b", "a", "你好")), {"a b", "a", "你好"}.__contains__),
        (
            StructuredOutputsParams(grammar='start: "(" start ")" | "x"'),
            lambda text: text.count("(") == text.count(")") and text.strip("()") == "x",
        ),
        (
            StructuredOutputsParams(grammar='root ::= "(" root ")" | "x"'),
            lambda text: text.count("(") == text.count(")") and text.strip("()") == "x",
        ),
    ]
    for form, is_right in forms:
        texts = [text for text, _ in answers[kind].draw(form, 4)]
        assert texts
        for text in texts:
            assert is_right(text), text


@pytest.mark.parametrize("kind", FREE)
def test_special_tokens_are_no_part_of_an_answer(answers: dict[str, Answers], kind: str) -> None:
    special = answers[kind].tokenizer.token_bytes._special - {EOS}
    for _, ids in answers[kind].draw(StructuredOutputsParams(regex="(.|\\n){1,30}"), 4):
        assert not special & set(ids)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("word_ends", "depends on the tokens around it"),
        (TIDIED, "depends on the tokens around it"),
        ("wordpiece", "can't spell every text"),
    ],
)
def test_tokenizers_that_no_grammar_can_be_kept_with(
    tokenizers: dict[str, Tokenizer], kind: str, why: str
) -> None:
    check = GrammarCheck(SPEC, tokenizers[kind].token_bytes)
    with pytest.raises(RequestError, match=why) as raised:
        check.check(StructuredOutputsParams(regex="a"))
    assert raised.value.param == "structured_outputs"
