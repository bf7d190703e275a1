"""What a repeated image takes with no cache, from memory and from Redis, and whether memory stays
within its budget.

    octavo bench encoder-cache [--images N] [--redis URL]

Two servers of SmolVLM-256M's shape (a SigLIP-base tower for 512 pixels, random weights) share a
Redis: one sees each image for the first time and once more, then the other sees it. The prefix
cache is off, so that each prompt is computed whole.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..app.table import print_table
from .redis_process import RedisProcess, find_redis
from .result import Result, distribution, new_result
from .server_process import ServerProcess
from .smolvlm_checkpoint import save_smolvlm
from .workload import noise_url

_BUDGET_MIB = 16
_NO_PREFIX = "--no-enable-prefix-caching"
_SOURCES = ("no_cache", "memory", "redis")


async def run(num_images: int, num_distinct: int, redis_url: str | None) -> Result:
    """Measure both, and print tables on the way. Raises ConfigError if a server does not start."""
    settings = {"images": num_images, "distinct": num_distinct, "redis": redis_url}
    result = new_result("encoder-cache", settings)
    binary = find_redis()
    redis = RedisProcess(binary) if redis_url is None and binary is not None else None
    try:
        url = redis.url if redis is not None else redis_url
        if url is None:
            print("no Redis server is installed, and --redis names none: it is left out")
        latency = await _measure_latency(num_images, url)
        return {**result, **latency, **await _measure_memory(num_distinct)}
    finally:
        if redis is not None:
            redis.stop()


async def _measure_latency(num_images: int, url: str | None) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        save_smolvlm(Path(folder))
        store = [f"--encoder-cache={url}"] if url else []
        arguments = [folder, _NO_PREFIX, "--max-num-seqs=4", *store]
        servers = [ServerProcess(*arguments) for _ in range(2 if url else 1)]
        try:
            for i, server in enumerate(servers):
                await server.until_healthy()
                await server.time_to_first_token(_body(noise_url(num_images + i, 512)))
            rows = [await _compare(servers, noise_url(i, 512)) for i in range(num_images)]
            runs = await servers[-1].metric("encoder_runs_total") - 1
        finally:
            for server in servers:
                server.stop()
    columns = dict(zip(_SOURCES, ([*c] for c in zip(*rows, strict=True)), strict=False))
    ratios = {name: _ratio(seconds, columns["no_cache"]) for name, seconds in columns.items()}
    _print_latency(columns, ratios)
    measured: Result = {}
    for name, seconds in columns.items():
        measured |= distribution(f"ttft_{name}", seconds)
        measured[f"ratio_{name}"] = ratios[name]
    if url:
        print(f"images that the second server encoded: {runs:.0f}")
        measured["encoded_by_second_server"] = runs
    return {**measured, "ttfts": columns}


async def _compare(servers: Sequence[ServerProcess], picture: str) -> list[float]:
    """Seconds to the first token: no cache, memory, and Redis if there are two servers."""
    first = servers[0]
    seconds = [await first.time_to_first_token(_body(picture)) for _ in range(2)]
    # The features are written behind.
    await asyncio.sleep(0.2)
    return seconds + [await server.time_to_first_token(_body(picture)) for server in servers[1:]]


def _print_latency(columns: dict[str, list[float]], ratios: dict[str, float]) -> None:
    rows = [["features from", "median ms", "longest ms", "of no cache"]]
    for name, seconds in columns.items():
        median, longest = statistics.median(seconds) * 1000, max(seconds) * 1000
        rows.append([name, f"{median:.0f}", f"{longest:.0f}", f"{ratios[name]:.3f}"])
    print(f"time to first token, one 512-pixel image, {len(columns['no_cache'])} images:")
    print_table(rows)


def _ratio(seconds: Sequence[float], uncached: Sequence[float]) -> float:
    """The median over images."""
    return statistics.median(a / b for a, b in zip(seconds, uncached, strict=True))


async def _measure_memory(num_distinct: int) -> Result:
    """Distinct images beyond what the demo model's cache holds."""
    server = ServerProcess(_NO_PREFIX, f"--encoder-cache-memory={_BUDGET_MIB}MiB")
    try:
        await server.until_healthy()
        print(f"the demo model with {_BUDGET_MIB} MiB for features, distinct images:")
        rows = [["images", "server MiB", "engine MiB"]]
        engine_mib: list[float] = []
        for done in range(num_distinct + 1):
            if done % max(1, num_distinct // 4) == 0:
                sizes = await server.memory()
                rows.append([str(done), *(f"{size:.0f}" for size in sizes)])
                engine_mib.append(sizes[1])
            await server.time_to_first_token(_body(noise_url(done, 64)))
        print_table(rows)
        return {"engine_mib": engine_mib}
    finally:
        server.stop()


def _body(picture: str) -> dict[str, Any]:
    parts = [
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "text", "text": "What is in this picture?"},
    ]
    return {"messages": [{"role": "user", "content": parts}], "max_tokens": 2, "ignore_eos": True}
