"""A request's output as it grows: it ends as `generate` does, and can be left."""

from __future__ import annotations

import gc

import pytest
from octavo import LLM, RequestError, SamplingParams
from PIL import Image

PARAMS = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM(dtype="float32", kv_cache_memory=64 * 2**20)


def question(picture: Image.Image) -> list[dict[str, object]]:
    parts = [{"type": "image", "image": picture}, {"type": "text", "text": "What is this?"}]
    return [{"role": "user", "content": parts}]


def assert_nothing_is_held(llm: LLM) -> None:
    llm._core.check_integrity()
    assert llm.num_free_blocks == llm._core.facts.num_blocks


@pytest.mark.parametrize("n", [1, 3])
def test_a_stream_ends_as_generate_does(llm: LLM, n: int) -> None:
    params = SamplingParams(temperature=0.8, seed=1, n=n, max_tokens=12, logprobs=2)
    (whole,) = llm.generate("Once upon", params)
    streamed = list(llm.generate_stream("Once upon", params))
    assert [output.finished for output in streamed] == [False] * (len(streamed) - 1) + [True]
    for index, wanted in enumerate(whole.outputs):
        answers = [output.outputs[index] for output in streamed]
        last = answers[-1]
        assert (last.text, last.token_ids) == (wanted.text, wanted.token_ids)
        assert (last.logprobs, last.finish_reason) == (wanted.logprobs, wanted.finish_reason)
        assert "".join(answer.new_text for answer in answers) == wanted.text
        # An output stays as it was when it was given.
        counts = [len(answer.token_ids) for answer in answers]
        assert counts == sorted(counts)
        assert counts[0] <= 1
        assert all(wanted.text.startswith(answer.text) for answer in answers)
    assert_nothing_is_held(llm)


def test_a_conversation_with_a_picture_is_streamed(llm: LLM, pictures: list[Image.Image]) -> None:
    messages = question(pictures[0])
    (whole,) = llm.chat(messages, PARAMS)
    *_, last = llm.generate_stream(messages, PARAMS)
    assert last.outputs[0].token_ids == whole.outputs[0].token_ids
    assert last.num_image_tokens == whole.num_image_tokens > 0


def test_what_ends_at_a_stop_string_never_takes_text_back(llm: LLM) -> None:
    (whole,) = llm.generate("Once", PARAMS)
    text = whole.outputs[0].text
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True, stop=(text[5:8],))
    parts = [output.outputs[0].new_text for output in llm.generate_stream("Once", params)]
    assert "".join(parts) == llm.generate("Once", params)[0].outputs[0].text


def test_one_that_is_closed_ends_the_request(llm: LLM) -> None:
    outputs = llm.generate_stream(
        "Once", SamplingParams(temperature=0, max_tokens=200, ignore_eos=True)
    )
    next(outputs)
    assert llm.num_free_blocks < llm._core.facts.num_blocks
    outputs.close()
    assert_nothing_is_held(llm)


def test_one_that_is_collected_in_the_midst_of_a_step_waits_for_its_end(
    llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    cycle: list[object] = [llm.generate_stream("Once", PARAMS)]
    cycle.append(cycle)
    next(cycle[0])
    step = llm._core.step

    def collect_and_step() -> list:
        monkeypatch.undo()
        gc.collect()
        return step()

    monkeypatch.setattr(llm._core, "step", collect_and_step)
    del cycle
    llm.generate("Once", PARAMS)
    assert_nothing_is_held(llm)


def test_one_that_is_never_begun_holds_nothing(llm: LLM) -> None:
    llm.generate_stream("Once", PARAMS)
    assert_nothing_is_held(llm)


def test_two_streams_and_a_call_between_their_outputs_share_the_engine(llm: LLM) -> None:
    wanted = [llm.generate(text, PARAMS)[0].outputs[0].token_ids for text in ("Once", "Then")]
    streams = [llm.generate_stream(text, PARAMS) for text in ("Once", "Then")]
    for _ in range(3):
        for outputs in streams:
            next(outputs)
    assert llm.generate("Then", PARAMS)[0].outputs[0].token_ids == wanted[1]
    ends = [list(outputs)[-1].outputs[0].token_ids for outputs in streams]
    assert ends == wanted


def test_what_is_wrong_is_said_before_the_first_output(llm: LLM) -> None:
    with pytest.raises(RequestError, match="the prompt is empty"):
        llm.generate_stream({"prompt_token_ids": []})
    with pytest.raises(RequestError, match="needs messages"):
        llm.generate_stream("Once", tools=[{"type": "function", "function": {"name": "f"}}])
    with pytest.raises(RequestError, match=r"messages\[0\]\.content"):
        llm.generate_stream([{"role": "user", "content": 3}])
