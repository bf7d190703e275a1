"""Several prompts in one call: what is wrong with one names it, and a bar counts them."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
import termios
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from octavo import LLM, AsyncLLM, RequestError, SamplingParams
from tqdm import tqdm

PARAMS = SamplingParams(temperature=0, max_tokens=3, ignore_eos=True)
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("call", "message", "param", "index"),
    [
        (
            lambda llm: llm.generate(["Once", {"prompt_token_ids": []}]),
            "prompts[1]: the prompt is empty",
            "prompts[1].prompt",
            1,
        ),
        (
            lambda llm: llm.generate(["Once", "Once", {"promt": "Once"}]),
            "prompts[2]: prompt has 'promt', which is no field that is known here; did you mean "
            "prompt?; known: prompt, prompt_token_ids, multi_modal_data, cache_salt",
            "prompts[2].promt",
            2,
        ),
        (
            lambda llm: llm.generate([7]),
            "prompts[0]: a prompt must be a text or a dictionary, not <class 'int'>",
            "prompts[0].prompt",
            0,
        ),
        (
            lambda llm: llm.chat([HELLO, [{"role": "user", "content": 3}]]),
            "conversations[1]: messages[0].content must be text or a list",
            "conversations[1].messages[0].content",
            1,
        ),
        (
            lambda llm: llm.generate({"prompt_token_ids": []}),
            "the prompt is empty",
            "prompt",
            None,
        ),
    ],
)
def test_a_bad_one_is_named_before_any_runs(
    offline: LLM,
    call: Callable[[LLM], object],
    message: str,
    param: str | None,
    index: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offline._core, "step", lambda: pytest.fail("it ran"))
    with pytest.raises(RequestError) as caught:
        call(offline)
    error = caught.value
    assert str(error).startswith(message)
    assert (error.param, error.index) == (param, index)


def test_one_that_fails_later_is_named_and_the_others_are_kept(offline: LLM) -> None:
    first, other = (offline.prepare_chat(HELLO, PARAMS) for _ in range(2))
    wanted = [output.outputs for output in offline.run([first, other])]
    with pytest.raises(RequestError, match=r"requests\[1\]: request id \d+ is in use") as caught:
        offline.run([first, first, other])
    assert "2 others are in `outputs`" in str(caught.value)
    assert caught.value.index == 1
    found = caught.value.outputs
    assert [output and output.outputs for output in found] == [wanted[0], None, wanted[1]]


class Bar:
    """What is told of progress, in the place of tqdm."""

    def __init__(self, **options: Any) -> None:
        self.options, self.updates, self.closed = options, [], False

    def update(self, count: int) -> None:
        self.updates.append(count)

    def close(self) -> None:
        self.closed = True


def test_a_bar_of_the_callers_is_told_of_each_end(offline: LLM) -> None:
    bars: list[Bar] = []

    def make(**options: Any) -> Bar:
        bars.append(Bar(**options))
        return bars[-1]

    params = [SamplingParams(max_tokens=n, ignore_eos=True) for n in (1, 6, 3)]
    offline.generate(["Once"] * 3, params, use_tqdm=make)
    offline.chat([HELLO] * 2, PARAMS, use_tqdm=make)
    with pytest.raises(RequestError):
        offline.generate(["Once", {}], use_tqdm=make)
    assert [bar.options["total"] for bar in bars] == [3, 2]
    assert bars[0].updates == [1, 1, 1]
    assert sum(bars[1].updates) == 2
    assert all(bar.closed for bar in bars)


def test_a_bar_is_shown_on_a_terminal_alone(
    offline: LLM, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offline.generate("Once", PARAMS)
    assert capsys.readouterr().err == ""
    offline.generate("Once", PARAMS, use_tqdm=partial(tqdm, leave=False))
    assert "Processed prompts" in capsys.readouterr().err
    reading, writing = pty.openpty()
    termios.tcsetwinsize(writing, (24, 80))
    with open(writing, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        offline.generate("Once", PARAMS, use_tqdm=False)
        terminal.write("quiet until here\n")
        offline.generate(["Once", "Twice"], PARAMS)
        terminal.flush()
        text = os.read(reading, 1 << 16).decode()
        while "2/2" not in text:
            text += os.read(reading, 1 << 16).decode()
    os.close(reading)
    before, after = text.split("quiet until here")
    assert before == ""
    assert "Processed prompts" in after


def test_async_llm_counts_and_names_as_well() -> None:
    bar = Bar()

    async def ask() -> None:
        async with AsyncLLM(dtype="float32", kv_cache_memory=64 * 2**20) as llm:
            await llm.generate(["Once"] * 3, PARAMS, use_tqdm=lambda **_: bar)
            request = llm.prepare_chat(HELLO, PARAMS)
            with pytest.raises(RequestError, match=r"requests\[1\]: .*in use") as caught:
                await llm.run([request, request])
            assert [output is None for output in caught.value.outputs] == [False, True]

    asyncio.run(ask())
    assert bar.updates == [1, 1, 1]
    assert bar.closed
