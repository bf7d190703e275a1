"""AsyncLLM: many calls at once share the batch, and each gets what LLM would give it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing

import pytest
from octavo import LLM, AsyncLLM, BeamSearchParams, RequestError, SamplingParams
from octavo.core.protocol.errors import RequestFailedError
from octavo.core.protocol.messages import EngineRequest
from octavo.core.protocol.outputs import RequestOutput
from PIL import Image

PARAMS = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
LONG = SamplingParams(temperature=0, max_tokens=300, ignore_eos=True)
PROMPTS = [f"Once upon a time there were {number}" for number in range(6)]


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM(dtype="float32", kv_cache_memory=64 * 2**20)


@pytest.fixture(scope="module")
def async_llm() -> Iterator[AsyncLLM]:
    made = AsyncLLM(dtype="float32", kv_cache_memory=64 * 2**20)
    yield made
    asyncio.run(made.close())


async def assert_nothing_is_held(llm: AsyncLLM) -> None:
    """What was to be done before this call is done when it has been answered."""
    await llm.generate("Once", SamplingParams(max_tokens=1))
    llm._core.check_integrity()
    assert llm.num_free_blocks == llm._core.facts.num_blocks


def test_all_methods_give_what_those_of_llm_do(
    llm: LLM, async_llm: AsyncLLM, pictures: list[Image.Image]
) -> None:
    parts = [{"type": "image", "image": pictures[0]}, {"type": "text", "text": "What is this?"}]
    messages = [{"role": "user", "content": parts}]
    beams = BeamSearchParams(beam_width=2, max_tokens=4)

    async def ask() -> None:
        found = await async_llm.generate(PROMPTS, PARAMS)
        assert texts(found) == texts(llm.generate(PROMPTS, PARAMS))
        assert texts(await async_llm.chat(messages, PARAMS)) == texts(llm.chat(messages, PARAMS))
        both = await async_llm.chat([messages, messages], PARAMS)
        assert texts(both) == texts(llm.chat(messages, PARAMS)) * 2
        found = await async_llm.beam_search("Once", beams)
        assert texts(found) == texts(llm.beam_search("Once", beams))
        (features,) = await async_llm.encode_images(messages)
        assert features.equal(llm.encode_images(messages)[0])
        tokenizer = await async_llm.get_tokenizer()
        assert tokenizer.encode("Once") == llm.get_tokenizer().encode("Once")
        prepared = async_llm.prepare_chat(messages, PARAMS)
        assert texts(await async_llm.run([prepared])) == texts(llm.chat(messages, PARAMS))
        await assert_nothing_is_held(async_llm)

    asyncio.run(ask())


def texts(outputs: list) -> list[list[str]]:
    return [[answer.text for answer in output.outputs] for output in outputs]


def test_many_calls_share_steps(llm: LLM, async_llm: AsyncLLM) -> None:
    wanted = texts(llm.generate(PROMPTS, PARAMS))
    steps = []
    step = async_llm._core.step

    def count() -> list:
        steps.append(len(async_llm._engine._states))
        return step()

    async def stream(prompt: str) -> str:
        async with aclosing(async_llm.generate_stream(prompt, PARAMS)) as outputs:
            return "".join([output.outputs[0].new_text async for output in outputs])

    async def ask() -> list[list[str]]:
        async_llm._core.step = count
        try:
            found = await asyncio.gather(*(stream(prompt) for prompt in PROMPTS))
        finally:
            del async_llm._core.step
        return [[text] for text in found]

    assert asyncio.run(ask()) == wanted
    assert len(steps) < 12 * len(PROMPTS)
    assert max(steps) > 1


def test_a_cancelled_call_and_a_stream_that_is_left_hold_nothing(async_llm: AsyncLLM) -> None:
    async def leave() -> None:
        outputs = async_llm.generate_stream("Once", LONG)
        await anext(outputs)
        await outputs.aclose()
        task = asyncio.create_task(async_llm.generate([*PROMPTS], LONG))
        while not async_llm.stats().num_requests_running:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await assert_nothing_is_held(async_llm)

    asyncio.run(leave())


def test_any_number_of_requests_are_streamed_in_order(llm: LLM, async_llm: AsyncLLM) -> None:
    items: list[object] = [[{"role": "user", "content": prompt}] for prompt in PROMPTS * 20]
    items[3] = "no conversation"

    def prepared(model: LLM | AsyncLLM) -> Callable[[object], EngineRequest]:
        return lambda item: model.prepare_chat(item, PARAMS)

    async def ask() -> list[object]:
        outputs = async_llm.stream(items, prepared(async_llm))
        return [said(output) async for output in outputs]

    found = asyncio.run(ask())
    assert found[3] == "messages must be a list with at least one message"
    assert found == [said(output) for output in llm.stream(items, prepared(llm))]


def said(output: RequestOutput | Exception) -> str:
    return str(output) if isinstance(output, Exception) else output.outputs[0].text


def test_a_stream_of_requests_that_is_left_holds_nothing(async_llm: AsyncLLM) -> None:
    async def leave() -> None:
        messages = [{"role": "user", "content": "Once"}]
        outputs = async_llm.stream([LONG] * 9, lambda long: async_llm.prepare_chat(messages, long))
        await anext(outputs)
        await outputs.aclose()
        await assert_nothing_is_held(async_llm)

    asyncio.run(leave())


def test_errors_come_from_the_call(async_llm: AsyncLLM) -> None:
    async def ask() -> None:
        with pytest.raises(RequestError, match=r"prompts\[1\]: the prompt is empty") as caught:
            await async_llm.generate(["Once", {"prompt_token_ids": []}])
        assert caught.value.index == 1
        with pytest.raises(RequestError, match="the prompt is empty"):
            await anext(async_llm.generate_stream({"prompt_token_ids": []}))

    asyncio.run(ask())


def test_a_step_that_raises_fails_those_that_run_and_no_others(
    async_llm: AsyncLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> list:
        raise ZeroDivisionError("of a step")

    async def ask() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(async_llm._core, "step", fail)
            with pytest.raises(RequestFailedError, match="of a step"):
                await async_llm.generate("Once", PARAMS)
        await assert_nothing_is_held(async_llm)

    asyncio.run(ask())


def test_closing_fails_what_is_open_and_what_comes_after() -> None:
    async def ask() -> None:
        async with AsyncLLM(dtype="float32", kv_cache_memory=64 * 2**20) as llm:
            outputs = llm.generate_stream("Once", LONG)
            await anext(outputs)
        with pytest.raises(RequestFailedError, match="was closed before"):
            async for _ in outputs:
                pass
        with pytest.raises(RuntimeError, match="this AsyncLLM is closed"):
            await llm.generate("Once")
        await llm.close()

    asyncio.run(ask())


LEFT_OPEN = """
import asyncio, atexit, threading
from octavo import AsyncLLM, SamplingParams

def tell_threads():
    print([thread.name for thread in threading.enumerate() if thread.name == "octavo-steps"])

async def main():
    llm = AsyncLLM(kv_cache_memory=2**25)
    outputs = llm.generate_stream("Once", SamplingParams(max_tokens=900))
    print((await anext(outputs)).finished)
    tell_threads()

atexit.register(tell_threads)
asyncio.run(main())
"""


def test_a_program_that_ends_with_a_model_open_stops_its_thread_first() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n['octavo-steps']\n[]\n"
