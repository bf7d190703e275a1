"""How an engine's process is talked to: a JSON line in for each call, and one out.

The process is started with its options as JSON. Its first line says what was loaded; each later
one answers a call: seconds, and tokens of the first prompt; or an error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

Options = dict[str, Any]


class Answer(NamedTuple):
    """Of one request, in tokens."""

    prompt_tokens: int
    output_tokens: int


class Engine(Protocol):
    """A loaded model. Both give one answer for each request, decode greedily and go on after the
    end of the text, up to max_tokens."""

    version: str

    def complete(self, prompts: list[list[int]], max_tokens: int) -> list[Answer]:
        """Continue prompts of token ids, all at once."""

    def describe(self, images: list[Any], question: str, max_tokens: int) -> list[Answer]:
        """Answer the question about each image, a PIL image, all at once."""


def library(name: str) -> Any:
    """A module of an engine, which is not there where this package is checked and tested."""
    return importlib.import_module(name)


def run_engine(load: Callable[[Options], Engine]) -> None:
    """Load, then answer until the input ends. What libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    started = time.perf_counter()
    engine = load(json.loads(sys.argv[1]))
    seconds = time.perf_counter() - started
    print(json.dumps({"version": engine.version, "load_s": seconds}), file=answers)
    for line in sys.stdin:
        print(json.dumps(_answer(engine, json.loads(line))), file=answers)


def _answer(engine: Engine, call: dict[str, Any]) -> dict[str, Any]:
    images = [_open_image(path) for path in call["images"]]
    num_tokens = call["max_tokens"]
    started = time.perf_counter()
    try:
        if images:
            answers = engine.describe(images, call["question"], num_tokens)
        else:
            answers = engine.complete(call["prompts"], num_tokens)
    except Exception as error:  # noqa: BLE001 – whatever an engine raises, it is the result
        return {"error": f"{type(error).__name__}: {error}"}
    seconds = time.perf_counter() - started
    wanted = len(images) or len(call["prompts"])
    if [answer.output_tokens for answer in answers] != [num_tokens] * wanted:
        counts = [answer.output_tokens for answer in answers]
        return {"error": f"{wanted} answers of {num_tokens} tokens were due, it gave {counts}"}
    return {"seconds": seconds, "prompt_tokens": answers[0].prompt_tokens}


def _open_image(path: str) -> Any:
    with library("PIL.Image").open(path) as image:
        return image.convert("RGB")
