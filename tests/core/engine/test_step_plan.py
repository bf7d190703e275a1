"""What scheduling and execution tell each other may go through bytes: answers stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pytest
from octavo import LLM, SamplingParams, StructuredOutputsParams
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.contracts.specs import LogitsProcessorSpec
from octavo.core.engine.engine_core import EngineCore
from octavo.core.engine.execution.in_process_executor import InProcessExecutor
from octavo.core.protocol.config import EngineConfig
from octavo.core.protocol.messages import (
    Abort,
    EngineOutput,
    EngineRequest,
    EngineStats,
    MediaInput,
    StoreWrites,
)
from octavo.core.protocol.model_facts import ModelFacts
from octavo.core.protocol.scheduler_output import SchedulerOutput, StepResult
from octavo.core.protocol.shared_array import SharedArray
from octavo.core.registry.registry import get_registry
from parity import conversation
from PIL import Image
from torch import Tensor
from vision_checkpoints import VISION_MODELS

Message = TypeVar("Message")

#: Everything that sampling keeps something for, each with a seed if it draws.
SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0, "prompt_logprobs": 1, "logprobs": 2},
    {"temperature": 0.9, "top_p": 0.9, "seed": 3, "n": 2},
    {"temperature": 0, "frequency_penalty": 1.5, "repetition_penalty": 1.3},
    {"temperature": 1.2, "min_p": 0.02, "seed": -5, "logit_bias": {7: 3.0}, "min_tokens": 9},
    {"temperature": 0, "bad_words_ids": ((5,), (6, 7)), "allowed_token_ids": tuple(range(400))},
    {"temperature": 0, "logits_processors": {"shifted": 1}, "stop_token_ids": (11, 13)},
    {
        "temperature": 0.9,
        "seed": 4,
        "structured_outputs": StructuredOutputsParams(regex="[a-m]{30,}"),
        "ignore_eos": False,
    },
]


class Shifted:
    """A logits processor that looks at all that it is given."""

    def __init__(self, arguments: Any) -> None:
        self._times = int(arguments)

    def __call__(self, prompt: Sequence[int], output: Sequence[int], logits: Tensor) -> Tensor:
        shift = (prompt[-1] + sum(output)) % 7 * self._times
        return logits.roll(shift)


def through_bytes(message: Message) -> Message:
    """The message, encoded and decoded, after a look whether it is the same."""
    encoded = msgspec.msgpack.encode(message, enc_hook=_encode_array)
    decoded = msgspec.msgpack.decode(encoded, type=type(message), dec_hook=_decode_array)
    # Arrays don't compare; as bytes they do.
    first, second = (msgspec.to_builtins(m, enc_hook=_encode_array) for m in (message, decoded))
    assert first == second
    return decoded


def _encode_array(value: Any) -> Any:
    assert isinstance(value, SharedArray)
    return [value.array.dtype.str, value.shape, value.array.tobytes()]


def _decode_array(kind: type, value: Any) -> Any:
    dtype, shape, data = value
    return SharedArray(np.frombuffer(data, dtype=dtype).reshape(shape))


@dataclass
class DistantExecutor:
    """An executor that shares nothing with the engine but bytes."""

    here: InProcessExecutor
    outputs: list[SchedulerOutput] = field(default_factory=list)

    @property
    def facts(self) -> ModelFacts:
        return through_bytes(self.here.facts)

    def check(self, params: SamplingParams) -> None:
        self.here.check(through_bytes(params))

    def prepare(self, params: SamplingParams) -> Future[Any] | None:
        return self.here.prepare(through_bytes(params))

    def execute(self, output: SchedulerOutput) -> StepResult:
        self.outputs.append(through_bytes(output))
        return through_bytes(self.here.execute(through_bytes(output)))

    def encode_images(self, media: Sequence[MediaInput]) -> list[Tensor]:
        return self.here.encode_images(media)

    def store_writes(self) -> StoreWrites:
        return through_bytes(self.here.store_writes())

    def close(self, timeout: float) -> None:
        self.here.close(timeout)


def run(core: EngineCore, requests: Sequence[EngineRequest]) -> dict[str, list[object]]:
    """What each answer was told, without times. Requests join at every other step, and one of
    them is dropped half-way."""
    told: dict[str, list[object]] = {}
    media = {item.media_key: item for request in requests for item in request.media}
    pending = list(requests)
    step = 0
    while pending or core.has_unfinished():
        if pending and step % 2 == 0:
            assert core.add(pending.pop(0)) == []
        if len(told.get("r1/1", ())) == 3:
            core.abort(Abort("r1", 1))
        for output in core.step():
            told.setdefault(f"{output.request_id}/{output.index}", []).append(what(output))
        for wanted in core.take_media_events().wanted:
            for key in wanted.media_keys:
                core.supply(media[key])
        core.check_integrity()
        step += 1
    assert core.num_free_blocks == core.facts.num_blocks
    return told


def what(output: EngineOutput) -> object:
    return msgspec.structs.replace(output, timings=None)


def counts(stats: EngineStats) -> EngineStats:
    return msgspec.structs.replace(stats, store=StoreWrites())


@pytest.mark.parametrize("name", ["llava-clip", "qwen2.5-vl", "gemma3"])
def test_answers_are_the_same_through_bytes(
    name: str, tmp_path: Path, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images, positions in height and width, and runs that see each other; in chunks, with
    shared prefixes, and with too little memory, so that requests are preempted and images asked
    for again."""
    save, chunk = VISION_MODELS[name]
    folder = str(save(tmp_path))
    registry = get_registry()
    spec = LogitsProcessorSpec("shifted", f"{__name__}:Shifted")
    monkeypatch.setitem(registry.logits_processors, "shifted", spec)
    llm = LLM(folder, dtype="float32")
    requests = make_requests(llm, pictures)
    executor: Any = llm._core._executor
    largest = max(item.num_features for request in requests for item in request.media)
    longest = max(len(request.prompt_token_ids) for request in requests) + 40
    config = EngineConfig(
        model=folder,
        dtype="float32",
        max_model_len=longest,
        max_num_batched_tokens=chunk,
        kv_cache_memory=(longest // 16 + 6) * executor._plan.block_bytes,
        encoder_cache_memory=2 * largest * executor.facts.bytes_per_feature,
    )
    checkpoint = find_checkpoint(folder)
    near = EngineCore(config, checkpoint, registry)
    distant = DistantExecutor(InProcessExecutor(config, checkpoint, registry))
    far = EngineCore(config, checkpoint, registry, distant)
    expected = run(near, requests)
    assert run(far, requests) == expected
    assert counts(far.stats()) == counts(near.stats())
    assert len(expected) == len(requests) + 1
    stats = far.stats()
    assert min(stats.num_preemptions, stats.prefix_cache_hits, stats.encoder_runs) > 0
    check_nothing_is_told_twice(distant.outputs)
    assert not distant.here._sampler._states
    assert not distant.here._runner._states


def make_requests(llm: LLM, pictures: list[Image.Image]) -> list[EngineRequest]:
    texts = ["What is this?", "What is this, and " + "how many more " * 5 + "are there?"]
    requests = []
    for i, settings in enumerate(SETTINGS):
        params = SamplingParams(**{"max_tokens": 30, "ignore_eos": True, **settings})
        shown = pictures[: i % 3] if i < 4 else pictures[1:2]
        request = llm.prepare_chat(conversation(texts[i % 2], shown), params)
        requests.append(msgspec.structs.replace(request, request_id=f"r{i}"))
    return requests


def check_nothing_is_told_twice(outputs: Sequence[SchedulerOutput]) -> None:
    """Neither requests nor blocks, but for the blocks of one that was preempted."""
    num_blocks: dict[str, int] = {}
    began_anew = 0
    for output in outputs:
        for request_id in output.ended:
            del num_blocks[request_id]
        for new in output.new:
            assert new.request_id not in num_blocks
            assert (new.prompt_token_ids is not None) == new.sampling_params.reads_prompt
            num_blocks[new.request_id] = 0
        for item in output.scheduled:
            if item.block_ids:
                began_anew += item.first_block < num_blocks[item.request_id]
                assert item.first_block in (0, num_blocks[item.request_id])
                num_blocks[item.request_id] = item.first_block + len(item.block_ids)
            assert item.end <= 16 * num_blocks[item.request_id]
    assert began_anew <= sum(len(output.preempted) for output in outputs)
