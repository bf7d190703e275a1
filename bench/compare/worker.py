"""Measures the `octavo` that its interpreter finds, one piece of work at a time.

    python -P worker.py [--model MODEL] [--memory-model FOLDER] [--slowdown SHARE]

Run as a script, so that old versions can be measured that lack this file: it uses their public
class alone. Lines of JSON go in, {"metric": …, "seed": …}, and come out, {"seconds": …}; the first
one out tells what was loaded. --model: instead of the demo model. --memory-model: for what is
measured of a model whose weights lie in no cache. --slowdown 0.3 makes each engine step take 1.3
times as long, for checking that this is noticed.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

_VOCABULARY = 1000
_FIRST_ID = 10


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--memory-model")
    parser.add_argument("--slowdown", type=float, default=0.0)
    options = parser.parse_args()
    answers = _take_stdout()
    octavo = importlib.import_module("octavo")
    if options.slowdown:
        _slow_down(options.slowdown)
    work = Work(octavo, options.model, options.memory_model)
    _write(answers, {"package": os.path.realpath(str(octavo.__file__))})
    for line in sys.stdin:
        order = json.loads(line)
        _write(answers, {"seconds": getattr(work, order["metric"])(order["seed"])})


class Work:
    """Models at small jobs; each method takes a seed and gives the seconds that count."""

    def __init__(self, octavo: Any, model: str | None, memory_model: str | None) -> None:
        self._octavo = octavo
        self._memory_model = memory_model
        self._llm = self._load(*([model] if model is not None else []))

    def prefill(self, seed: int) -> float:
        """A prompt of 256 tokens, until its first token."""
        return self._timed(lambda: self._generate([256], 1, seed))

    def decode(self, seed: int) -> float:
        """12 tokens of one request, after its first."""
        return self._decode(self._llm, seed)

    def decode_memory_bf16(self, seed: int) -> float:
        """The same of a model that reads its weights from memory, in bfloat16."""
        return self._decode(self._bf16, seed)

    def decode_memory_int8(self, seed: int) -> float:
        """The same, its weights in int8."""
        return self._decode(self._int8, seed)

    def batch(self, seed: int) -> float:
        """16 short requests at once, four tokens each: mostly what a step takes beside the
        model's products, as the demo model is small."""
        return self._timed(lambda: self._generate([16] * 16, 4, seed))

    def image(self, seed: int) -> float:
        """A question about an image that was not seen before, and four tokens of answer."""
        image_class = importlib.import_module("PIL.Image")
        noise = random.Random(seed).randbytes(256 * 256 * 3)
        parts = [
            {"type": "image", "image": image_class.frombytes("RGB", (256, 256), noise)},
            {"type": "text", "text": "What is this?"},
        ]
        messages = [{"role": "user", "content": parts}]
        return self._timed(lambda: self._llm.chat(messages, self._params(4)))

    @functools.cached_property
    def _bf16(self) -> Any:
        return self._load(self._memory_model, dtype="bfloat16")

    @functools.cached_property
    def _int8(self) -> Any:
        return self._load(self._memory_model, dtype="bfloat16", quantization="int8")

    def _load(self, *model: Any, **settings: Any) -> Any:
        return self._octavo.LLM(
            *model, enable_prefix_caching=False, kv_cache_memory=64 * 2**20, **settings
        )

    def _decode(self, llm: Any, seed: int) -> float:
        timings = self._generate([16], 13, seed, llm)[0].metrics
        seconds: float = timings.finished - timings.first_token
        return seconds

    def _generate(
        self, prompt_lengths: list[int], num_output: int, seed: int, llm: Any = None
    ) -> Any:
        rng = random.Random(seed)
        prompts = [
            {"prompt_token_ids": [rng.randrange(_FIRST_ID, _VOCABULARY) for _ in range(length)]}
            for length in prompt_lengths
        ]
        return (llm or self._llm).generate(prompts, self._params(num_output))

    def _params(self, num_output: int) -> Any:
        return self._octavo.SamplingParams(temperature=0, max_tokens=num_output, ignore_eos=True)

    @staticmethod
    def _timed(work: Callable[[], Any]) -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started


def _slow_down(share: float) -> None:
    """Make each step of the engine take 1 + share times as long, busily."""
    core: Any = importlib.import_module("octavo.core.engine.engine_core").EngineCore
    step = core.step

    @functools.wraps(step)
    def slow_step(self: Any) -> Any:
        started = time.perf_counter()
        outputs = step(self)
        end = started + (time.perf_counter() - started) * (1 + share)
        while time.perf_counter() < end:
            pass
        return outputs

    core.step = slow_step


def _take_stdout() -> TextIO:
    """Standard output for the answers alone; what else is printed goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _write(answers: TextIO, content: object) -> None:
    print(json.dumps(content), file=answers, flush=True)


if __name__ == "__main__":
    _main()
