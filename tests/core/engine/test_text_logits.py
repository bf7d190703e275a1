"""The logits of a whole text are transformers', and no request notices that they were asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.engine.engine_core import EngineCore
from octavo.core.engine.execution.in_process_executor import InProcessExecutor
from octavo.core.protocol.config import EngineConfig
from octavo.core.protocol.messages import EngineRequest
from octavo.core.protocol.sampling_params import SamplingParams
from octavo.core.registry.registry import get_registry
from text_checkpoints import save_text_model
from transformers import AutoModelForCausalLM

#: Not whole blocks, and more than the rows that are computed at once.
NUM_TOKENS = 301


def make_config(folder: Path, **settings: Any) -> EngineConfig:
    return EngineConfig(model=str(folder), dtype="float32", kv_cache_memory=16 * 2**20, **settings)


def load(config: EngineConfig) -> InProcessExecutor:
    return InProcessExecutor(config, find_checkpoint(config.model), get_registry())


def random_ids(count: int, seed: int = 0) -> list[int]:
    ids: list[int] = torch.randint(
        10, 2000, (count,), generator=torch.Generator().manual_seed(seed)
    ).tolist()
    return ids


@pytest.mark.parametrize("name", ["llama", "gemma2"])
@pytest.mark.parametrize("batch_invariant", [False, True])
def test_equal_to_those_of_transformers(tmp_path: Path, name: str, batch_invariant: bool) -> None:
    executor = load(make_config(save_text_model(tmp_path, name), batch_invariant=batch_invariant))
    ids = random_ids(NUM_TOKENS)
    logits = torch.cat(list(executor.text_logits(ids)))
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    with torch.inference_mode():
        expected = model.float()(torch.tensor([ids])).logits[0]
    assert logits.dtype is torch.float32
    torch.testing.assert_close(logits, expected, atol=1e-3 * expected.std().item(), rtol=0)


def test_one_token(tmp_path: Path) -> None:
    executor = load(make_config(save_text_model(tmp_path, "llama")))
    (alone,) = executor.text_logits([20])
    first = torch.cat(list(executor.text_logits([20, 30])))[:1]
    torch.testing.assert_close(alone, first, atol=1e-4, rtol=1e-4)


def test_a_running_request_notices_nothing(tmp_path: Path) -> None:
    config = make_config(save_text_model(tmp_path, "llama"))
    executor = load(config)
    core = EngineCore(config, find_checkpoint(config.model), get_registry(), executor)
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)

    def answer(request_id: str, between: bool) -> list[int]:
        tokens: list[int] = []
        assert core.add(EngineRequest(request_id, random_ids(40), params, [], [], 0.0)) == []
        while core.has_unfinished():
            for output in core.step():
                tokens += output.new_token_ids
            if between:
                list(executor.text_logits(random_ids(100, seed=len(tokens))))
        return tokens

    undisturbed = answer("alone", between=False)
    assert len(undisturbed) == 12
    # The second time from the prefix cache.
    assert [answer(name, between=True) for name in ("a", "b")] == [undisturbed] * 2
