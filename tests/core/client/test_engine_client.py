"""An engine does the same by EngineClient, in this process and in a child of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import torch
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.client.child_engine import ChildEngine
from octavo.core.client.engine_client import EngineClient, EngineEvent
from octavo.core.client.in_process_engine import InProcessEngine
from octavo.core.engine.engine_core import EngineCore
from octavo.core.protocol.config import EngineConfig
from octavo.core.protocol.messages import (
    Abort,
    EngineOutput,
    EngineRequest,
    RequestsStarted,
    StepReport,
)
from octavo.core.protocol.sampling_params import SamplingParams
from octavo.core.registry.registry import get_registry
from transformers import AutoModelForCausalLM

PROMPT = [1, 5, 6, 7]
PARAMS = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)

#: Gives the next events, in order.
Advance = Callable[[], Awaitable[None]]


class Events:
    """All that was told."""

    def __init__(self) -> None:
        self.told: list[EngineEvent] = []
        self.came = asyncio.Event()

    def take(self, event: EngineEvent) -> None:
        self.told.append(event)
        self.came.set()

    @property
    def outputs(self) -> list[EngineOutput]:
        return [o for e in self.told if isinstance(e, StepReport) for o in e.outputs]

    def ended(self, request_id: str) -> bool:
        return any(o.request_id == request_id and o.finish_reason for o in self.outputs)


@asynccontextmanager
async def in_process(
    config: EngineConfig, events: Events
) -> AsyncIterator[tuple[EngineClient, Advance]]:
    core = EngineCore(config, find_checkpoint(config.model), get_registry())
    engine = InProcessEngine(core)
    engine.listen(events.take)

    async def advance() -> None:
        engine.step()

    yield engine, advance
    core.close()


@asynccontextmanager
async def in_child(
    config: EngineConfig, events: Events
) -> AsyncIterator[tuple[EngineClient, Advance]]:
    engine = ChildEngine(config)
    engine.listen(events.take)
    engine.launch()

    async def advance() -> None:
        await events.came.wait()
        events.came.clear()

    try:
        await engine.wait_until_ready()
        yield engine, advance
    finally:
        await engine.stop()


async def use(engine: EngineClient, advance: Advance, events: Events) -> list[int]:
    """The tokens of a request, beside others that are refused or aborted."""
    endless = SamplingParams(temperature=0, max_tokens=400, ignore_eos=True)
    assert engine.alive
    assert engine.facts is not None
    total = engine.facts.num_blocks
    engine.submit(EngineRequest("kept", PROMPT, PARAMS, [], [], 0.0))
    engine.submit(EngineRequest("aborted", PROMPT, endless, [], [], 0.0))
    # The first of this name still runs when the second comes, whichever process is the faster.
    engine.submit(EngineRequest("twice", PROMPT, endless, [], [], 0.0))
    engine.submit(EngineRequest("twice", PROMPT, endless, [], [], 0.0))
    engine.abort(Abort("aborted"))
    engine.abort(Abort("twice"))
    engine.abort(Abort("unknown"))
    # The requests may come to a child one by one, and the first of them end before the last came.
    while not (events.ended("kept") and any(o.failure for o in events.outputs)):
        await advance()
    # The state is told with the last step, and after it when the last request is gone.
    while engine.stats.num_free_blocks != total:
        await advance()
    (refused,) = (o for o in events.outputs if o.failure is not None)
    assert refused.request_id == "twice"
    assert "in use" in refused.failure.message
    assert not events.ended("aborted")
    assert any(isinstance(e, RequestsStarted) and "kept" in e.request_ids for e in events.told)
    return [i for o in events.outputs if o.request_id == "kept" for i in o.new_token_ids]


@pytest.mark.parametrize("opened", [in_process, in_child])
def test_an_engine_is_used_by_its_client(
    checkpoints: dict[str, Path],
    opened: Callable[..., object],
) -> None:
    model = AutoModelForCausalLM.from_pretrained(checkpoints["llama"], dtype=torch.float32)
    ids = torch.tensor([PROMPT])
    length = {"min_new_tokens": 6, "max_new_tokens": 6}
    expected = model.generate(ids, do_sample=False, **length)[0, len(PROMPT) :]
    config = EngineConfig(
        model=str(checkpoints["llama"]), dtype="float32", kv_cache_memory=16 * 2**20
    )

    async def main() -> list[int]:
        events = Events()
        async with opened(config, events) as (engine, advance):  # type: ignore[attr-defined]
            return await use(engine, advance, events)

    assert asyncio.run(main()) == expected.tolist()
