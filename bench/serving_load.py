"""An open-loop load: requests are sent when they arrive, whatever became of those before."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Sequence
from typing import Any

from ..core.protocol.config import ConfigError
from .arrivals import arrival_times
from .load_config import LoadConfig
from .request_record import RequestRecord
from .stream_client import StreamClient
from .workload import (
    RequestMix,
    RequestShape,
    chat_messages,
    draw_shapes,
    noise_url,
    text_of,
    warm_up_shape,
)


async def run_load(
    client: StreamClient, model: str, mix: RequestMix, load: LoadConfig
) -> list[RequestRecord]:
    """Send all requests and wait for their ends; latencies count from the arrivals as drawn.

    Where all arrive at once but only some may be open, there are no arrivals to count from: a
    request arrives when it may be sent (a closed loop). Raises ConfigError if warming up fails.
    """
    shapes = draw_shapes(mix)
    arrivals = arrival_times(len(shapes), load.request_rate, load.burstiness, mix.seed)
    bodies = [request_body(model, mix, shape) for shape in shapes]
    await _warm_up(client, model, mix, load.num_warmups)
    open_slots = (
        asyncio.Semaphore(load.max_concurrency)
        if load.max_concurrency is not None
        else contextlib.nullcontext()
    )
    closed_loop = load.max_concurrency is not None and math.isinf(load.request_rate)
    client.start = time.perf_counter()
    records = [RequestRecord(arrival) for arrival in arrivals]

    async def send(record: RequestRecord, body: bytes) -> None:
        async with open_slots:
            if closed_loop:
                record.arrival = time.perf_counter() - client.start
            await client.send(body, record)

    async with asyncio.TaskGroup() as group:
        for record, body in zip(records, bodies, strict=True):
            # Slept before each, as sleeping 0 lets those that were started be sent.
            await asyncio.sleep(client.start + record.arrival - time.perf_counter())
            group.create_task(send(record, body))
    return records


async def _warm_up(client: StreamClient, model: str, mix: RequestMix, count: int) -> None:
    """One after the other."""
    for i in range(count):
        record = RequestRecord(0.0)
        await client.send(request_body(model, mix, warm_up_shape(mix, i)), record)
        if not record.ok:
            raise ConfigError(f"a first request failed, so nothing was measured: {record.error}")


def request_body(model: str, mix: RequestMix, shape: RequestShape) -> bytes:
    """A streaming chat that goes on for all its tokens, as it goes over the wire."""
    image: dict[str, Any] | None = None
    if shape.image is not None:
        url = noise_url(shape.image, mix.image_size)
        image = {"type": "image_url", "image_url": {"url": url}}
    body = {
        "model": model,
        "messages": chat_messages(text_of(shape, mix.seed), image),
        "max_tokens": shape.output_len,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return json.dumps(body).encode()


def peak_concurrency(records: Sequence[RequestRecord]) -> int:
    """The most complete requests that were open at one moment, by when they were sent."""
    events = [(record.sent, 1) for record in records if record.ok]
    # At the same time, ends come first.
    events += [(record.end, -1) for record in records if record.ok]
    open_now = most = 0
    for _, change in sorted(events):
        open_now += change
        most = max(most, open_now)
    return most
