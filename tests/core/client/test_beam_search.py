"""Beam search gives transformers' hypotheses, in order, with their scores."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from octavo import LLM, BeamSearchParams, SamplingParams
from octavo.core.client.beam_search import BeamSearch
from octavo.core.protocol.messages import EngineRequest, TokenLogprobs
from transformers import AutoModelForCausalLM

PROMPTS = [[1, 5, 9, 13], [1, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56]]


@pytest.fixture(scope="module")
def model(checkpoints: dict[str, Path]) -> AutoModelForCausalLM:
    return AutoModelForCausalLM.from_pretrained(checkpoints["llama"], dtype=torch.float32)


@pytest.fixture(scope="module", params=[[2], [2, *range(0, 2048, 7)]], ids=["one", "many"])
def llm(
    checkpoints: dict[str, Path],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> LLM:
    """With one end of sequence, and with so many that hypotheses end at different lengths."""
    folder = tmp_path_factory.mktemp("beams") / "llama"
    shutil.copytree(checkpoints["llama"], folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": request.param}))
    return LLM(folder, dtype="float32", kv_cache_memory=32 * 2**20)


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0, -0.5])
@pytest.mark.parametrize("ignore_eos", [False, True])
def test_equal_to_transformers(
    model: AutoModelForCausalLM,
    llm: LLM,
    early_stopping: bool | str,
    length_penalty: float,
    ignore_eos: bool,
) -> None:
    width, num_tokens = 3, 9
    params = BeamSearchParams(
        beam_width=width,
        max_tokens=num_tokens,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        ignore_eos=ignore_eos,
    )
    eos_token_ids = -1 if ignore_eos else llm._facts.eos_token_ids
    outputs = llm.beam_search([{"prompt_token_ids": prompt} for prompt in PROMPTS], params)
    for prompt, output in zip(PROMPTS, outputs, strict=True):
        result = model.generate(
            torch.tensor([prompt]),
            num_beams=width,
            num_return_sequences=width,
            do_sample=False,
            max_new_tokens=num_tokens,
            length_penalty=length_penalty,
            early_stopping=early_stopping,
            eos_token_id=eos_token_ids,
            pad_token_id=2047,
            output_scores=True,
            return_dict_in_generate=True,
        )
        for answer, sequence, score in zip(
            output.outputs, result.sequences.tolist(), result.sequences_scores.tolist(), strict=True
        ):
            generated = sequence[len(prompt) :]
            assert answer.token_ids == generated[: len(answer.token_ids)]
            assert set(generated[len(answer.token_ids) :]) <= {2047}
            assert answer.cumulative_logprob is not None
            length = len(answer.token_ids)
            assert answer.cumulative_logprob / length**length_penalty == pytest.approx(
                score, abs=1e-4
            )
    assert llm.num_free_blocks == llm._core.facts.num_blocks


def test_a_search_that_has_begun_has_left_the_queue() -> None:
    request = EngineRequest("r", [1, 5], SamplingParams(), [], [], 0.0, queue_timeout=2.0)
    search = BeamSearch(request, BeamSearchParams(beam_width=2), [2])
    assert [step.queue_timeout for step in search.next_requests()] == [2.0]
    search.update([TokenLogprobs(-0.1, 1, [7, 8, 9, 10], [-0.1, -2.5, -5.0, -6.0])])
    assert [step.queue_timeout for step in search.next_requests()] == [math.inf, math.inf]
