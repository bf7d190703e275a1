"""The server's engine survives a failing step, and says so to those it concerned."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from octavo.core.engine.async_engine import AsyncEngine
from octavo.core.engine.checkpoint import find_checkpoint
from octavo.core.engine.config import EngineConfig
from octavo.core.engine.engine_core import EngineCore
from octavo.core.engine.errors import EngineDeadError, RequestFailedError
from octavo.core.engine.input_processor import InputProcessor
from octavo.core.engine.messages import EngineRequest
from octavo.core.engine.sampling_params import SamplingParams
from octavo.core.registry import get_registry


class Setup:
    """An engine on the tiny Llama, and requests for it."""

    def __init__(self, folder: Path) -> None:
        checkpoint = find_checkpoint(str(folder))
        self.inputs = InputProcessor(checkpoint, get_registry())
        config = EngineConfig(model=str(folder), dtype="float32", max_model_len=128)
        self.core = EngineCore(config, checkpoint, get_registry())
        self.engine = AsyncEngine(self.core, self.inputs.tokenizer)

    def request(self, name: str, num_tokens: int = 8) -> EngineRequest:
        params = SamplingParams(temperature=0, max_tokens=num_tokens, ignore_eos=True)
        limits = self.engine.limits
        return self.inputs.build(name, self.inputs.tokenizer.encode(name), [], params, limits)

    async def run(self, request: EngineRequest) -> list[int]:
        output = [output async for output in self.engine.generate(request)][-1]
        return output.outputs[0].token_ids


@pytest.fixture
def setup(checkpoints: dict[str, Path]) -> Setup:
    return Setup(checkpoints["llama"])


def test_failed_step_ends_its_requests_only(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    execute = setup.core._runner.execute

    def fail_once(output: object) -> object:
        monkeypatch.setattr(setup.core._runner, "execute", execute)
        raise RuntimeError("out of something")

    async def scenario() -> None:
        setup.engine.start()
        expected = await setup.run(setup.request("hello"))
        monkeypatch.setattr(setup.core._runner, "execute", fail_once)
        with pytest.raises(RequestFailedError, match="out of something"):
            await setup.run(setup.request("hello"))
        assert await setup.run(setup.request("hello")) == expected
        await setup.engine.stop()

    asyncio.run(scenario())
    setup.core.check_integrity()
    assert setup.engine.num_free_blocks == setup.engine.limits.num_blocks


def test_left_requests_are_aborted(setup: Setup) -> None:
    async def scenario() -> None:
        setup.engine.start()
        outputs = setup.engine.generate(setup.request("hello", 100))
        await anext(outputs)
        await outputs.aclose()
        await setup.run(setup.request("bye"))
        await setup.engine.stop()

    asyncio.run(scenario())
    assert not setup.core.has_unfinished()
    assert setup.engine.num_free_blocks == setup.engine.limits.num_blocks


def test_dead_engine_is_reported(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def die() -> list[object]:
        raise AssertionError("a defect")

    async def scenario() -> None:
        setup.engine.start()
        monkeypatch.setattr(setup.core, "step", die)
        with pytest.raises(EngineDeadError):
            await setup.run(setup.request("hello"))
        assert not setup.engine.healthy
        with pytest.raises(EngineDeadError):
            await setup.run(setup.request("again"))

    asyncio.run(scenario())
