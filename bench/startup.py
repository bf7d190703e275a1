"""`octavo bench startup`: how soon a server answers, and what its processes hold."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..app import DEMO_MODEL
from ..core.protocol.config import ConfigError
from .process_memory import memory_of_tree
from .request_record import RequestRecord
from .result import Result, new_result
from .server_process import ServerProcess
from .serving_load import request_body
from .stream_client import StreamClient
from .workload import Lengths, RequestMix, draw_shapes

_TIMEOUT_S = 600.0
_QUESTION = RequestMix(
    num_prompts=1, input_len=Lengths(8, 8), output_len=Lengths(8, 8), image_share=1.0
)
_IMPORTS = "import torch, transformers"


async def run(server_arguments: Sequence[str], repeats: int, text_only: bool) -> Result:
    """Start a server once cold and then `repeats` times warm, and ask it about a picture. Times
    count from its spawning; between the starts it is measured how long a Python takes that only
    imports torch and transformers, which says how fast the machine is now. text_only: for models
    that take no pictures.

    Cold: with an empty cache for what is built at the first start, and with a local checkpoint's
    files out of the system's page cache. Warm: with the cache that the cold start left.
    Raises ConfigError if the server does not start.
    """
    if repeats < 1:
        raise ConfigError(f"repeats must be at least 1, got {repeats}")
    result = new_result("startup", {"server_arguments": list(server_arguments), "repeats": repeats})
    with tempfile.TemporaryDirectory() as cache:
        environment = _with_cache(cache)
        _drop_from_page_cache(Path(server_arguments[0] if server_arguments else DEMO_MODEL))
        question = replace(_QUESTION, image_share=0.0) if text_only else _QUESTION
        starts, imports = [], []
        for _ in range(1 + repeats):
            starts.append(await _start(server_arguments, environment, question))
            imports.append(_time_imports())
    cold, warm = starts[0], starts[1:]
    return {
        **result,
        "cold_healthy_s": cold["healthy_s"],
        "cold_first_answer_s": cold["first_answer_s"],
        **_median("warm_healthy_s", [start["healthy_s"] for start in warm]),
        **_median("warm_first_answer_s", [start["first_answer_s"] for start in warm]),
        **_median("warm_cpu_s", [start["cpu_s"] for start in warm]),
        **_median("import_s", imports[1:]),
        **_median("pss_mib", [start["pss_mib"] for start in warm]),
        "num_processes": len(warm[-1]["processes"]),
        "starts": starts,
    }


async def _start(
    arguments: Sequence[str], environment: Mapping[str, str], question: RequestMix
) -> dict[str, Any]:
    """Start, ask once, and stop. pss_mib, cpu_s: of all processes together."""
    begin = time.perf_counter()
    server = ServerProcess(*arguments, environment=environment)
    try:
        await server.until_healthy()
        healthy = time.perf_counter() - begin
        await _ask(server.port, question)
        answered = time.perf_counter() - begin
        processes = memory_of_tree(server.process.pid)
    finally:
        server.stop()
    return {
        "healthy_s": healthy,
        "first_answer_s": answered,
        "pss_mib": sum(process.pss for process in processes),
        "cpu_s": sum(process.cpu_s for process in processes),
        "processes": [asdict(process) for process in processes],
    }


def _time_imports() -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", _IMPORTS], check=True)
    return time.perf_counter() - begin


async def _ask(port: int, question: RequestMix) -> None:
    """One answer of eight tokens."""
    client = StreamClient(f"http://127.0.0.1:{port}", _TIMEOUT_S)
    record = RequestRecord(0.0)
    try:
        model = await client.first_model()
        await client.send(request_body(model, question, draw_shapes(question)[0]), record)
    finally:
        await client.close()
    if not record.ok:
        raise ConfigError(f"the server answers no chat: {record.error}")


def _with_cache(folder: str) -> dict[str, str]:
    """An environment whose user cache is `folder`; checkpoints of the hub stay where they are."""
    user_cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    hub = os.environ.get("HF_HOME") or str(Path(user_cache) / "huggingface")
    return {**os.environ, "XDG_CACHE_HOME": folder, "HF_HOME": hub}


def _drop_from_page_cache(checkpoint: Path) -> None:
    """A hint that Linux follows for files that nobody else has mapped."""
    files = [checkpoint] if checkpoint.is_file() else checkpoint.glob("*")
    for path in files:
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _median(name: str, values: Sequence[float]) -> Result:
    return {name: float(np.median(values))}
