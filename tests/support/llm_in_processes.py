"""Run as a program: a model in a process, and what processes that it forks and spawns say of it.

Prints JSON: what each call in a forked process raised, and what a spawned one answered.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from typing import Any

from octavo import LLM, EmbeddingModel, RequestError, SamplingParams
from octavo.core.protocol.config import EngineConfig
from octavo.core.protocol.outputs import RequestOutput

PARAMS = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True)
MESSAGES = [{"role": "user", "content": "What is this?"}]
#: Of a process that waits for ever.
DEADLINE_S = 100


def said_by(call: Callable[[], Any]) -> str:
    try:
        return f"no error: {call()}"
    except Exception as error:  # noqa: BLE001 - whatever it is
        return f"{type(error).__name__}: {error}"


def in_fork(work: Callable[[], dict[str, str]]) -> Any:
    """What work gives in a forked process, which ends as one does that leaves its main."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(DEADLINE_S)
        with os.fdopen(writing, "w") as answer:
            json.dump(work(), answer)
        sys.exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    return {**json.loads(said or "{}"), "status": os.waitpid(pid, 0)[1]}


def use(llm: LLM, clip: str, outputs: Any) -> dict[str, str]:
    calls: dict[str, Callable[[], Any]] = {
        "generate": lambda: llm.generate("Once", PARAMS),
        "chat": lambda: llm.chat(MESSAGES, PARAMS),
        "generate_stream": lambda: llm.generate_stream("Once", PARAMS),
        "encode_images": lambda: llm.encode_images(MESSAGES),
        "stats": llm.stats,
        "with": llm.__enter__,
        "a stream that had begun": lambda: next(outputs),
        "another LLM": LLM,
        "EmbeddingModel": lambda: EmbeddingModel(clip),
    }
    said = {name: said_by(call) for name, call in calls.items()}
    outputs.close()
    llm.close()
    return said


def answer(config: EngineConfig) -> list[RequestOutput]:
    with LLM(**asdict(config)) as llm:
        return llm.generate("Once", PARAMS)


def fail(config: EngineConfig) -> None:
    with LLM(**asdict(config)) as llm:
        llm.generate(["Once", {"prompt": "Once", "promt": ""}])


def main() -> None:
    said: dict[str, Any] = {}
    llm = LLM(dtype="float32", kv_cache_memory=2**24)
    (wanted,) = llm.generate("Once", PARAMS)
    outputs = llm.generate_stream("Once", PARAMS)
    next(outputs)
    said["forked"] = in_fork(lambda: use(llm, sys.argv[1], outputs))
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        said["a pool"] = said_by(lambda: pool.submit(answer, llm.config).result(DEADLINE_S))
    *_, last = outputs
    said["goes on after forks"] = last.outputs[0].token_ids == wanted.outputs[0].token_ids
    said["pickled"] = said_by(lambda: pickle.dumps(llm))
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        (output,) = pool.submit(answer, llm.config).result(DEADLINE_S)
        said["spawned"] = output.outputs == wanted.outputs
        try:
            pool.submit(fail, llm.config).result(DEADLINE_S)
        except RequestError as error:
            said["spawned fails"] = [str(error), error.param, error.index]
    print(json.dumps(said))


if __name__ == "__main__":
    main()
