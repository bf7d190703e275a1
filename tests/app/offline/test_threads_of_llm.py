"""One model in several threads, interrupted and closed: nothing is lost, nobody waits for ever."""

from __future__ import annotations

import gc
import signal
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from octavo import LLM, SamplingParams
from octavo.core.protocol.errors import RequestFailedError

PROMPTS = [f"Once upon a time there were {number}" for number in range(6)]
PARAMS = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
LONG = SamplingParams(temperature=0, max_tokens=400, ignore_eos=True)


def make() -> LLM:
    return LLM(dtype="float32", kv_cache_memory=64 * 2**20)


@pytest.fixture(scope="module")
def llm() -> LLM:
    return make()


def text(llm: LLM, prompt: str, params: SamplingParams = PARAMS) -> str:
    return llm.generate(prompt, params)[0].outputs[0].text


def assert_nothing_is_held(llm: LLM) -> None:
    llm._core.check_integrity()
    assert llm.num_free_blocks == llm._core.facts.num_blocks


def test_threads_share_steps_and_each_gets_its_own_answer(
    llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [text(llm, prompt) for prompt in PROMPTS]
    begin = threading.Barrier(len(PROMPTS))
    step = llm._core.step
    running: list[int] = []

    def count() -> list:
        running.append(len(llm._engine._states))
        return step()

    def ask(prompt: str) -> str:
        begin.wait()
        return text(llm, prompt)

    monkeypatch.setattr(llm._core, "step", count)
    with ThreadPoolExecutor(len(PROMPTS)) as threads:
        assert list(threads.map(ask, PROMPTS)) == wanted
    assert max(running) > 1
    assert len(running) < 12 * len(PROMPTS)
    assert_nothing_is_held(llm)


def test_a_thread_that_steps_again_and_again_keeps_none_out(llm: LLM) -> None:
    begun = threading.Event()
    ended = threading.Event()

    def write_long() -> None:
        for _ in llm.generate_stream("Once", LONG):
            begun.set()
        ended.set()

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write_long)
        begun.wait()
        text(llm, "Then", SamplingParams(max_tokens=2))
        assert not ended.is_set()
        writing.result()
    assert_nothing_is_held(llm)


def test_an_interrupt_in_the_midst_of_a_step_leaves_nothing_half_done(
    llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = text(llm, "Once")
    step = llm._core.step
    done = []

    def interrupted() -> list:
        if not done:
            signal.raise_signal(signal.SIGINT)
        outputs = step()
        done.append(len(outputs))
        return outputs

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(llm._core, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        text(llm, "Once")
    assert len(done) == 1
    assert signal.getsignal(signal.SIGINT) is handler
    assert_nothing_is_held(llm)
    assert text(llm, "Once") == wanted


def test_closing_gives_the_model_back_and_refuses_what_comes_after() -> None:
    with make() as llm:
        outputs = llm.generate_stream("Once", LONG)
        next(outputs)
        assert "1024 KV blocks>" in repr(llm)
        model = weakref.ref(llm._core._executor._runner._model)
    gc.collect()
    assert model() is None
    assert repr(llm).startswith("<LLM '")
    assert repr(llm).endswith(", closed>")
    with pytest.raises(RequestFailedError, match="was closed before the answer was complete"):
        list(outputs)
    for use in (llm.stats, llm.__enter__, llm.get_tokenizer, lambda: llm.generate("Once")):
        with pytest.raises(RuntimeError, match="this LLM is closed; make another one"):
            use()
    llm.close()


def test_closing_fails_what_other_threads_wait_for() -> None:
    llm = make()
    begun = threading.Event()

    def write_long() -> None:
        for _ in llm.generate_stream("Once", LONG):
            begun.set()

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write_long)
        begun.wait()
        llm.close()
        with pytest.raises(RuntimeError, match="closed"):
            writing.result()
