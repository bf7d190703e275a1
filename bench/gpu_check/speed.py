"""First tokens and tokens a second on the device, beside transformers on the same device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import torch
import transformers

from ...core.protocol.config import EngineConfig
from ..offline import OfflineEngine
from ..workload import RequestShape, token_ids_of

_library: Any = transformers
_PROMPT, _TURNS = 512, 3
_DTYPE = "bfloat16"
#: Seconds to the first token of all requests, and to the last.
_Times = tuple[float, float]
_Run = Callable[[int, int], _Times]


def measure_speed(
    device: str, model: str, batches: Sequence[int] = (1, 32), output_len: int = 128
) -> list[dict[str, Any]]:
    """A row for each engine and batch: medians over turns in which the engines alternate, so that
    whatever else the machine does meets both. Prompts are new ones in each turn, and the same for
    both; a turn before warms up."""
    settings: dict[str, Any] = {"enable_prefix_caching": False, "max_num_seqs": max(batches)}
    config = EngineConfig(model=model, dtype=_DTYPE, device=device, **settings)
    with closing(OfflineEngine(config, image_size=1, seed=0)) as engine:
        runs = {
            "octavo": lambda batch, turn: _octavo(engine, batch, turn, output_len),
            "transformers": _transformers(device, model, output_len),
        }
        rows = []
        for batch in batches:
            rows += _rows(runs, batch, output_len)
    return rows


def _rows(runs: dict[str, _Run], batch: int, output_len: int) -> list[dict[str, Any]]:
    times: dict[str, list[_Times]] = {name: [] for name in runs}
    for turn in range(_TURNS + 1):
        for name in list(runs)[:: 1 if turn % 2 else -1]:
            found = runs[name](batch, turn)
            if turn:
                times[name].append(found)
    return [
        {
            "engine": name,
            "requests": batch,
            "input_tokens": _PROMPT,
            "output_tokens": output_len,
            "dtype": _DTYPE,
            "first_token_ms": 1000 * statistics.median(first for first, _ in found),
            "decode_tokens_per_s": statistics.median(
                batch * (output_len - 1) / (last - first) for first, last in found
            ),
        }
        for name, found in times.items()
    ]


def _shapes(batch: int, turn: int, output_len: int) -> list[RequestShape]:
    numbers = range(turn * batch, (turn + 1) * batch)
    return [RequestShape(number, 0, _PROMPT, output_len, None) for number in numbers]


def _octavo(engine: OfflineEngine, batch: int, turn: int, output_len: int) -> _Times:
    records = engine.run(_shapes(batch, turn, output_len))
    return max(r.token_times[0] for r in records), max(r.token_times[-1] for r in records)


def _transformers(device: str, model: str, output_len: int) -> _Run:
    """Its generate, with the attention that it chooses itself."""
    loaded = _library.AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, _DTYPE))
    loaded = loaded.to(device).eval()
    vocab_size: int = loaded.config.vocab_size

    @torch.inference_mode()
    def run(batch: int, turn: int) -> _Times:
        prompts = [token_ids_of(s, 0, vocab_size) for s in _shapes(batch, turn, output_len)]
        ids = torch.tensor(prompts, device=device)
        begun = time.perf_counter()
        arrivals = _Arrivals()
        loaded.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            pad_token_id=0,
            max_new_tokens=output_len,
            min_new_tokens=output_len,
            streamer=arrivals,
        )
        _, first, *_, last = arrivals.times
        return first - begun, last - begun

    return run


class _Arrivals:
    """When each step's tokens were in the host's memory; the prompt's comes first."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, _tokens: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass
