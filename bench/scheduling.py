"""What scheduling gains: priorities, in-flight against static batches, paged KV memory.

    python -m octavo.bench.scheduling

Everything is compared within one run, on the demo model in float32.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

from ..core.engine.engine_core import EngineCore
from .load import Arrival, LoadResult, make_core, make_request, run_all
from .machine import describe_machine

_FLOOD, _URGENT = 150, 40
_MIXED, _SPREAD_S = 96, 6.0


def main() -> None:
    """Print all comparisons."""
    print(describe_machine())
    compare_policies()
    compare_static_batches()
    compare_kv_memory()
    compare_batch_invariance()


def compare_policies() -> None:
    """Latency of urgent requests that arrive during a flood."""
    p99 = {}
    for policy in ("fcfs", "priority"):
        core = make_core(dtype="float32", max_num_seqs=16, scheduling_policy=policy)
        result = run_all(_warm(core), _flood())
        p99[policy] = _percentile(result.latencies("urgent"), 99)
    print(
        f"{_URGENT} urgent requests in a flood of {_FLOOD}: p99 latency {p99['fcfs']:.3f} s first "
        f"come first served, {p99['priority']:.3f} s by priority: "
        f"{p99['priority'] / p99['fcfs']:.2f} of it"
    )


def compare_static_batches() -> None:
    """Time to first token when requests may join at every step, or only between batches."""
    median, p99 = {}, {}
    for mode, may_join in (
        ("in-flight", lambda core: True),
        ("static", lambda core: not core.has_unfinished()),
    ):
        core = make_core(dtype="float32", max_num_seqs=32)
        result = run_all(_warm(core), _mixed_load(spread=_SPREAD_S), may_join)
        times = result.times_to_first_token()
        median[mode], p99[mode] = statistics.median(times), _percentile(times, 99)
    print(
        f"{_MIXED} requests over {_SPREAD_S:.0f} s: median time to first token "
        f"{median['static']:.3f} s in static batches, {median['in-flight']:.3f} s in flight: "
        f"{median['in-flight'] / median['static']:.2f} of it; p99 {p99['static']:.3f} s and "
        f"{p99['in-flight']:.3f} s"
    )


def compare_kv_memory() -> None:
    """Peak KV memory of a mixed load, paged and as contiguous room for the longest request."""
    core = make_core(dtype="float32", max_num_seqs=32)
    arrivals = _mixed_load(spread=0.0)
    result: LoadResult = run_all(core, arrivals)
    longest = max(
        len(a.request.prompt_token_ids) + (a.request.sampling_params.max_tokens or 0)
        for a in arrivals
    )
    block_size = core.facts.block_size
    paged = max(held for held, _ in result.held_blocks) * block_size
    contiguous = max(running for _, running in result.held_blocks) * longest
    print(
        f"KV memory at the peak of a mixed load: {paged} tokens paged, {contiguous} contiguous at "
        f"the longest request's {longest}: {100 * (1 - paged / contiguous):.0f} % less"
    )


def compare_batch_invariance() -> None:
    """What batch_invariant costs, at one request and at 44."""
    for count in (1, 44):
        seconds = {}
        for invariant in (False, True):
            core = make_core(dtype="float32", batch_invariant=invariant)
            rng = random.Random(2)
            requests = [make_request(f"r{i}", rng, 60, 20) for i in range(count)]
            seconds[invariant] = run_all(_warm(core), [Arrival(0.0, r) for r in requests]).seconds
        print(
            f"batch_invariant with {count} at once: {seconds[True] / seconds[False]:.1f} times "
            f"as long ({seconds[False]:.3f} s, {seconds[True]:.3f} s)"
        )


def _flood() -> list[Arrival]:
    rng = random.Random(0)
    flood = [
        Arrival(0.0, make_request(f"flood{i}", rng, rng.randrange(20, 200), 60, priority=5))
        for i in range(_FLOOD)
    ]
    urgent = [
        Arrival(0.03 * i, make_request(f"urgent{i}", rng, 40, 10)) for i in range(1, _URGENT + 1)
    ]
    return flood + urgent


def _mixed_load(spread: float) -> list[Arrival]:
    """Mostly short requests, some long, over `spread` seconds."""
    rng = random.Random(1)
    arrivals = []
    for i in range(_MIXED):
        long = rng.random() < 0.2
        num_prompt = rng.randrange(200, 600) if long else rng.randrange(10, 100)
        num_output = rng.randrange(100, 200) if long else rng.randrange(5, 40)
        request = make_request(f"r{i}", rng, num_prompt, num_output)
        arrivals.append(Arrival(rng.uniform(0, spread), request))
    return arrivals


def _warm(core: EngineCore) -> EngineCore:
    rng = random.Random(99)
    run_all(core, [Arrival(0.0, make_request(f"warm{i}", rng, 50, 5)) for i in range(4)])
    return core


def _percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


if __name__ == "__main__":
    main()
