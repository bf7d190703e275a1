"""The engine survives a failing step, honours aborts, and writes a trace that can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from json_log import json_log
from octavo import LLM, SamplingParams
from octavo.app.offline.offline_run import OfflineRun
from octavo.core.observe.request_events import RequestEvents
from octavo.core.protocol.errors import RequestFailedError, RequestTimeoutError
from octavo.core.protocol.messages import Abort, EngineRequest
from octavo.core.protocol.scheduler_output import SchedulerOutput
from octavo.core.registry.hookspecs import hookimpl
from octavo.core.registry.registry import Registry
from PIL import Image

GREEDY = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)


@pytest.fixture
def llm(checkpoints: dict[str, Path]) -> LLM:
    return LLM(checkpoints["llama"], dtype="float32", max_model_len=128)


def test_failed_step_ends_its_requests_only(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = llm._core._executor._runner
    execute = runner.execute
    failed: list[str] = []

    def fail_once(output: SchedulerOutput) -> object:
        failed.append(output.scheduled[0].request_id.partition("/")[0])
        monkeypatch.setattr(runner, "execute", execute)
        raise RuntimeError("out of something")

    expected = llm.generate("hello", GREEDY)[0].outputs[0].token_ids
    monkeypatch.setattr(runner, "execute", fail_once)
    with json_log() as lines, pytest.raises(RequestFailedError, match="out of something"):
        llm.generate("hello", GREEDY)
    (line,) = lines()
    assert line["message"] == "a step of 1 requests failed"
    assert line["request_id"] == failed[0]
    assert llm.generate("hello", GREEDY)[0].outputs[0].token_ids == expected
    llm._core.check_integrity()
    assert llm.num_free_blocks == llm._core.facts.num_blocks


def test_a_tower_that_fails_on_one_image_ends_its_request_only(
    checkpoints: dict[str, Path], pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = LLM(checkpoints["llava-siglip"], dtype="float32", max_model_len=128)
    model = llm._core._executor._runner._model
    encode = model.encode_images

    def named(request: EngineRequest, number: int) -> EngineRequest:
        return msgspec.structs.replace(request, log_id=f"req-{number}")

    def refuse_dark(pixels: torch.Tensor, layouts: object) -> object:
        if any(image.max() < 0 for image in pixels):
            raise RuntimeError("too dark")
        return encode(pixels, layouts)

    def ask(*shown: Image.Image) -> list[dict[str, Any]]:
        parts = [{"type": "image", "image": picture} for picture in shown]
        return [{"role": "user", "content": [*parts, {"type": "text", "text": "What?"}]}]

    expected = [
        output.outputs[0].token_ids for output in llm.chat([ask(), ask(pictures[0])], GREEDY)
    ]
    monkeypatch.setattr(model, "encode_images", refuse_dark)
    chats = [ask(), ask(Image.new("RGB", (40, 40))), ask(pictures[0]), ask(pictures[1])]
    prepared = [named(llm.prepare_chat(chat, GREEDY), i) for i, chat in enumerate(chats)]
    with OfflineRun(llm._engine) as run, json_log() as lines:
        states = [run.add(request) for request in prepared]
        while run.num_unfinished:
            run.step()
    (of_image, of_step) = lines()
    assert of_image["request_ids"] == ["req-1", "req-3"]  # encoded together
    assert of_step["request_id"] == "req-1"
    assert [state.failure is not None for state in states] == [False, True, False, False]
    assert "too dark" in states[1].failure.message
    answers = [states[i].to_output().outputs[0].token_ids for i in (0, 2)]
    assert answers == expected
    llm._core.check_integrity()
    assert llm.num_free_blocks == llm._core.facts.num_blocks


def test_a_short_request_overtakes_a_long_one(llm: LLM) -> None:
    core = llm._core
    long = SamplingParams(temperature=0, max_tokens=100, ignore_eos=True)
    core.add(EngineRequest("long", [1, 5, 6], long, [], [], 0.0))
    for _ in range(10):
        core.step()
    core.add(EngineRequest("short", [1, 7, 8], GREEDY, [], [], 0.0))
    ended = []
    while core.has_unfinished():
        ended += [output.request_id for output in core.step() if output.finish_reason]
    assert ended == ["short", "long"]


def test_one_of_several_answers_can_be_aborted(llm: LLM) -> None:
    params = SamplingParams(n=3, seed=1, max_tokens=20, ignore_eos=True)
    core = llm._core
    core.add(EngineRequest("r", [1, 5, 6], params, [], [], 0.0))
    core.step()
    core.abort(Abort("r", 1))
    assert {output.index for output in core.step()} == {0, 2}
    core.abort(Abort("r"))
    assert not core.has_unfinished()
    core.abort(Abort("r"))
    core.check_integrity()
    assert llm.num_free_blocks == core.facts.num_blocks


def test_several_answers_differ_and_can_be_had_again(llm: LLM) -> None:
    params = SamplingParams(n=4, seed=2**63 - 2, max_tokens=12, ignore_eos=True)
    (first,) = llm.generate({"prompt_token_ids": [1, 5, 6, 7]}, params)
    (second,) = llm.generate({"prompt_token_ids": [1, 5, 6, 7]}, params)
    answers = [completion.token_ids for completion in first.outputs]
    assert answers == [completion.token_ids for completion in second.outputs]
    assert len({tuple(answer) for answer in answers}) == 4


def test_the_operator_s_timeout(checkpoints: dict[str, Path]) -> None:
    llm = LLM(checkpoints["llama"], dtype="float32", request_timeout=1e-6)
    with pytest.raises(RequestTimeoutError, match="not finished within its timeout"):
        llm.generate("hello", GREEDY)
    assert llm.num_free_blocks == llm._core.facts.num_blocks


def test_trace(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    llm = LLM(checkpoints["llama"], dtype="float32", trace=str(path))
    llm.generate(["hello", "bye"], GREEDY)
    del llm
    events = json.loads(path.read_text().rstrip(",\n") + "]")
    steps = [e for e in events if e["ph"] == "X" and e["pid"] == 1]
    assert len(steps) == 8
    assert all(len(step["args"]["scheduled"]) == 2 and step["dur"] > 0 for step in steps)
    stages = {e["name"].split()[1] for e in events if e["ph"] == "X" and e["pid"] == 2}
    assert stages == {"queued", "prefill", "decode"}


def test_request_hooks(llm: LLM, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    class Watching:
        @hookimpl
        def octavo_request_received(self, request: Any) -> None:
            seen.append(request.request_id)

        @hookimpl
        def octavo_request_finished(self, output: Any) -> None:
            seen.append(output.outputs[0].token_ids)

    class Broken:
        @hookimpl
        def octavo_request_received(self) -> None:
            raise RuntimeError("a defect")

    registry = Registry()
    registry.hooks.register(Watching(), "watching")
    registry.hooks.register(Broken(), "broken")
    llm._events = RequestEvents(registry)
    outputs = [llm.generate("hello", GREEDY)[0] for _ in range(2)]
    assert seen == [x for o in outputs for x in (o.request_id, o.outputs[0].token_ids)]
    assert caplog.text.count("plugin broken failed in a request hook") == 1
