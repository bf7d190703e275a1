"""A load of requests that arrive over time, run against an engine core in this process."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..app import DEMO_MODEL
from ..core.checkpoints.find_checkpoint import find_checkpoint
from ..core.engine.engine_core import EngineCore
from ..core.protocol.config import EngineConfig
from ..core.protocol.messages import EngineRequest, RequestTimings
from ..core.protocol.sampling_params import SamplingParams
from ..core.registry.registry import get_registry


@dataclass(frozen=True)
class Arrival:
    """A request and when it arrives, in seconds from the start."""

    after: float
    request: EngineRequest


@dataclass
class LoadResult:
    """timings: of each request by id; held_blocks: after each step, with the number running."""

    timings: dict[str, RequestTimings] = field(default_factory=dict)
    held_blocks: list[tuple[int, int]] = field(default_factory=list)
    seconds: float = 0.0

    def times_to_first_token(self, name: str = "") -> list[float]:
        """Seconds, of the requests whose id begins with `name`."""
        return [t.first_token - t.arrival for i, t in self.timings.items() if i.startswith(name)]

    def latencies(self, name: str = "") -> list[float]:
        """Seconds from arrival to the end, of the requests whose id begins with `name`."""
        return [t.finished - t.arrival for i, t in self.timings.items() if i.startswith(name)]


def make_core(**settings: Any) -> EngineCore:
    """An engine core with the demo model."""
    config = EngineConfig(model=DEMO_MODEL, **settings)
    return EngineCore(config, find_checkpoint(config.model), get_registry())


def make_request(
    name: str, rng: random.Random, num_prompt: int, num_output: int, priority: int = 0
) -> EngineRequest:
    """Random tokens in, exactly num_output tokens out."""
    prompt = [rng.randrange(10, 1000) for _ in range(num_prompt)]
    params = SamplingParams(temperature=0, max_tokens=num_output, ignore_eos=True)
    return EngineRequest(name, prompt, params, [], [], 0.0, priority=priority)


def run_all(
    core: EngineCore,
    arrivals: Sequence[Arrival],
    may_join: Callable[[EngineCore], bool] = lambda core: True,
) -> LoadResult:
    """Run everything. may_join: whether those who wait may be handed to the engine now."""
    pending = sorted(arrivals, key=lambda arrival: arrival.after)
    result = LoadResult()
    num_blocks = core.facts.num_blocks
    start = time.monotonic()
    while pending or core.has_unfinished():
        now = time.monotonic() - start
        if may_join(core):
            while pending and pending[0].after <= now:
                arrival = pending.pop(0)
                arrived = start + arrival.after
                core.add(msgspec.structs.replace(arrival.request, arrival_time=arrived))
        if not core.has_unfinished():
            time.sleep(max(0.0, pending[0].after - now))
            continue
        for output in core.step():
            if output.timings is not None:
                result.timings[output.request_id] = output.timings
        stats = core.stats()
        result.held_blocks.append((num_blocks - stats.num_free_blocks, stats.num_requests_running))
    result.seconds = time.monotonic() - start
    return result
