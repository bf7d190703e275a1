"""The offline classes in a real Jupyter kernel, whose event loop runs while a cell does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import octavo
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

DEADLINE_S = 200
OnOutput = Callable[[str], None]


class Kernel:
    """Runs cells, one after another, in a kernel of this Python."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self._client = client

    def run(self, cell: str, on_output: OnOutput = lambda text: None) -> tuple[str, str]:
        """What a cell prints, and the name of its error, if any."""
        printed = []

        def take(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                printed.append(message["content"]["text"])
                on_output(printed[-1])

        reply = self._client.execute_interactive(
            cell, output_hook=take, timeout=DEADLINE_S, allow_stdin=False
        )
        return "".join(printed), reply["content"].get("ename", "")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    manager = KernelManager(
        connection_file=str(tmp_path_factory.mktemp("kernel") / "connection.json")
    )
    manager.kernel_cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager.start_kernel(cwd=str(Path(octavo.__file__).parent))
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=DEADLINE_S)
        made = Kernel(manager, client)
        assert made.run(BEGIN) == ("", "")
        yield made
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


BEGIN = """
from octavo import LLM, AsyncLLM, SamplingParams

params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
long = SamplingParams(temperature=0, max_tokens=1000, ignore_eos=True)
settings = {"dtype": "float32", "kv_cache_memory": 64 * 2**20}
llm = LLM(**settings)
wanted = llm.generate("Once", params)[0].outputs[0].text
"""
ASYNC = """
import asyncio

async with AsyncLLM(**settings) as several:
    outputs = await asyncio.gather(*(several.generate("Once", params) for _ in range(3)))
    print([output.outputs[0].text == wanted for (output,) in outputs])
    parts = [output.outputs[0].new_text async for output in several.generate_stream("Once", params)]
    print("".join(parts) == wanted)
"""
INTERRUPTED = """
while True:
    for output in llm.generate_stream("Once", long):
        print(".", end="", flush=True)
"""
AFTERWARDS = """
print(llm.generate("Once", params)[0].outputs[0].text == wanted)
print(llm.stats().num_requests_running)
"""


def test_llm_answers_in_a_cell(kernel: Kernel) -> None:
    assert kernel.run("print(llm.generate('Once', params)[0].outputs[0].text == wanted)") == (
        "True\n",
        "",
    )


def test_async_llm_is_awaited_in_a_cell(kernel: Kernel) -> None:
    assert kernel.run(ASYNC) == ("[True, True, True]\nTrue\n", "")


def test_a_cell_that_is_interrupted_leaves_a_model_that_goes_on(kernel: Kernel) -> None:
    interrupted: list[str] = []

    def interrupt(text: str) -> None:
        if not interrupted:
            kernel.manager.interrupt_kernel()
        interrupted.append(text)

    printed, error = kernel.run(INTERRUPTED, interrupt)
    assert set(printed) == {"."}
    assert error == "KeyboardInterrupt"
    # The traceback of the cell keeps its stream until another one is raised.
    kernel.run("1 / 0")
    assert kernel.run(AFTERWARDS) == ("True\n0\n", "")
