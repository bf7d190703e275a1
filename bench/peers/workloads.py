"""The work that every engine is given: the same token ids and the same images.

T1: one request, 512 tokens in, 128 out. T2: 32 requests at once, 64 to 512 in, 64 out. T3: 32
requests at once with a common prefix of 400 tokens and 32 of their own, 16 out. V1: one request
with an image of 512 pixels, 32 out. V2: 16 requests at once, 8 images each twice, 32 out. P1: one
prompt of 2,048 tokens. D1: T1's kind on a model that no cache holds, 64 in, 32 out.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

QUESTION = "Describe this image in detail."
IMAGE_SIDE = 512
#: Ids that every model's vocabulary has, and that are no special tokens.
_IDS = (100, 2000)
_WARM_UP_REQUESTS = 4
_WARM_UP_TOKENS = 8


@dataclass(frozen=True)
class Workload:
    """One kind of work. lengths: the range of a prompt's own tokens, both ends included; prefix:
    tokens that all prompts share; distinct_images: each is used num_requests / distinct_images
    times; repeats: how often it is measured."""

    name: str
    model: str
    num_requests: int
    output_tokens: int
    lengths: tuple[int, int] = (0, 0)
    prefix: int = 0
    distinct_images: int = 0
    repeats: int = 3


WORKLOADS = {
    w.name: w
    for w in (
        Workload("t1", "text", 1, 128, lengths=(512, 512)),
        Workload("t2", "text", 32, 64, lengths=(64, 512), repeats=2),
        Workload("t3", "text", 32, 16, lengths=(32, 32), prefix=400, repeats=2),
        Workload("p1", "text", 1, 1, lengths=(2048, 2048)),
        Workload("v1", "vision", 1, 32, distinct_images=1),
        Workload("v2", "vision", 16, 32, distinct_images=8, repeats=2),
        Workload("d1", "large", 1, 32, lengths=(64, 64)),
    )
}


@dataclass(frozen=True)
class Call:
    """What an engine is asked at once: prompts of token ids, or image files with the question."""

    max_tokens: int
    prompts: tuple[list[int], ...] = ()
    images: tuple[str, ...] = ()

    def shortened(self, num_requests: int, max_tokens: int) -> Call:
        """Some of the requests only, with at most so many tokens."""
        tokens = min(self.max_tokens, max_tokens)
        return Call(tokens, self.prompts[:num_requests], self.images[:num_requests])

    def to_message(self) -> dict[str, Any]:
        """As the engine's process reads it."""
        return {
            "max_tokens": self.max_tokens,
            "prompts": list(self.prompts),
            "images": list(self.images),
            "question": QUESTION,
        }


def make_calls(workload: Workload, variant: int, folder: Path) -> dict[str, Call]:
    """The calls to be timed, by name, in order: "first" gives one token, "again" is the same once
    more, "whole" gives all. No two variants, and no two calls but those, share a prompt or image,
    so that no cache carries over. folder: for the images, which are written."""
    requests = _draw(workload, variant, 0, folder)
    whole = Call(workload.output_tokens, **requests)
    if workload.num_requests > 1 or workload.output_tokens == 1:
        return {"whole": whole}
    first = Call(1, **_draw(workload, variant, 1, folder))
    again = {"again": first} if workload.distinct_images else {}
    return {"first": first, **again, "whole": whole}


def warm_up_calls(workload: Workload, folder: Path) -> list[Call]:
    """What each engine does before it is measured: the same kind of calls, cut short."""
    calls = make_calls(workload, 0, folder).values()
    return [call.shortened(_WARM_UP_REQUESTS, _WARM_UP_TOKENS) for call in calls]


def to_metrics(workload: Workload, seconds: Mapping[str, float]) -> dict[str, float]:
    """What the calls' durations say. Decoding speed is of the tokens after the first."""
    whole = seconds["whole"]
    if workload.num_requests > 1:
        total = workload.num_requests * workload.output_tokens
        return {
            "wall_s": whole,
            "out_tok_s": total / whole,
            "req_s": workload.num_requests / whole,
        }
    if "first" not in seconds:
        return {"ttft_ms": whole * 1e3, "wall_s": whole}
    metrics = {
        "ttft_ms": seconds["first"] * 1e3,
        "decode_tok_s": (workload.output_tokens - 1) / (whole - seconds["first"]),
        "wall_s": whole,
    }
    if "again" in seconds:
        metrics["again_ms"] = seconds["again"] * 1e3
    return metrics


def prompt_tokens(calls: Sequence[Call]) -> int:
    """Tokens that must be computed if a prefix that prompts share is computed once."""
    prompts = [prompt for call in calls for prompt in call.prompts]
    shared = _shared_length(prompts) if len(prompts) > 1 else 0
    return shared + sum(len(prompt) - shared for prompt in prompts)


def _shared_length(prompts: Sequence[Sequence[int]]) -> int:
    columns = zip(*prompts, strict=False)
    for length, column in enumerate(columns):
        if len(set(column)) > 1:
            return length
    return min(len(prompt) for prompt in prompts)


def _draw(workload: Workload, variant: int, call: int, folder: Path) -> dict[str, Any]:
    seed = f"{workload.name}/{variant}/{call}"
    if workload.distinct_images:
        names = [_write_image(folder, f"{seed}/{i}") for i in range(workload.distinct_images)]
        return {"images": tuple(names[i % len(names)] for i in range(workload.num_requests))}
    numbers = random.Random(seed)
    prefix = [numbers.randrange(*_IDS) for _ in range(workload.prefix)]
    lengths = [numbers.randint(*workload.lengths) for _ in range(workload.num_requests)]
    return {
        "prompts": tuple([*prefix, *(numbers.randrange(*_IDS) for _ in range(n))] for n in lengths)
    }


def _write_image(folder: Path, seed: str) -> str:
    """A smooth pattern of colours, as a PNG file; left if it is there."""
    path = folder / f"{seed.replace('/', '-')}.png"
    if path.exists():
        return str(path)
    values = random.Random(seed).randbytes(8 * 8 * 3)
    blocks = np.frombuffer(values, np.uint8).reshape(8, 8, 3)
    side = (IMAGE_SIDE, IMAGE_SIDE)
    Image.fromarray(blocks).resize(side, Image.Resampling.BICUBIC).save(path)
    return str(path)
