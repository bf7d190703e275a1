"""How fast a captioning job is, beside asking one picture after another, and beside a server.

    python -m octavo.bench.captioning [--pictures N] [--max-tokens N]

For the demo model and for a made one of SmolVLM-256M's shape; each way has pictures of its own, so
that no cache knows them. "busy" is the share of the job's time that its engine was in a step, by
the trace. All is done in one run, as ratios say more than rates.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
from PIL import Image

from ..app import DEMO_MODEL
from ..app.captioning.captioner import Captioner
from ..app.offline.llm import LLM
from ..app.table import print_table
from ..core.protocol.sampling_params import SamplingParams
from .machine import describe_machine
from .server_process import ServerProcess
from .smolvlm_checkpoint import save_smolvlm
from .workload import noise_image

_PROMPT = "What is in this picture?"
_CONNECTIONS = 32
#: Pictures that are not counted, with which what is made once is made.
_WARM_UP = 4
_numbers = itertools.count()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="How fast a captioning job is.")
    parser.add_argument("--pictures", type=int, default=128, help="of each way (default: 128)")
    parser.add_argument("--max-tokens", type=int, default=64, help="of each caption (default: 64)")
    parser.add_argument("--size", type=int, default=512, help="of the pictures' sides, in pixels")
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        shape = Path(folder, "smolvlm-256m")
        save_smolvlm(shape)
        rows = [["model", "one by one", "server", "job", "job / one", "job / server", "busy"]]
        for name, model in (("demo", DEMO_MODEL), ("SmolVLM-256M's shape", str(shape))):
            measured = _measure(model, Path(folder), options)
            rows.append([name, *measured])
    print_table(rows)


def _measure(model: str, folder: Path, options: argparse.Namespace) -> list[str]:
    def pictures(count: int) -> list[Path]:
        return [_picture(folder, options.size) for _ in range(count)]

    count, tokens = options.pictures, options.max_tokens
    one = _one_by_one(model, pictures(_WARM_UP), pictures(max(count // 4, 1)), tokens)
    server = asyncio.run(_server(model, pictures(_WARM_UP), pictures(count), tokens))
    job, busy = _job(model, folder, pictures(_WARM_UP), pictures(count), tokens)
    rates = [f"{rate:.2f} pictures/s" for rate in (one, server, job)]
    return [*rates, f"{job / one:.2f}", f"{job / server:.2f}", f"{100 * busy:.0f} %"]


def _picture(folder: Path, size: int) -> Path:
    number = next(_numbers)
    path = folder / f"{number}.jpg"
    # Smooth, as photographs are: a JPEG of noise is ten times as large, and as long to decode.
    smooth = noise_image(number, size // 16).resize((size, size), Image.Resampling.BICUBIC)
    smooth.save(path, quality=90)
    return path


def _rate(run: Callable[[Sequence[Path]], object], files: Sequence[Path]) -> float:
    started = time.perf_counter()
    run(files)
    return len(files) / (time.perf_counter() - started)


def _one_by_one(model: str, first: Sequence[Path], files: Sequence[Path], tokens: int) -> float:
    with LLM(model) as llm:
        params = SamplingParams(temperature=0, max_tokens=tokens)

        def run(files: Sequence[Path]) -> None:
            for file in files:
                parts = [{"type": "image", "image": file}, {"type": "text", "text": _PROMPT}]
                llm.chat([{"role": "user", "content": parts}], params, use_tqdm=False)

        run(first)
        return _rate(run, files)


async def _server(model: str, first: Sequence[Path], files: Sequence[Path], tokens: int) -> float:
    server = ServerProcess(model, "--served-model-name", "model")
    try:
        await server.until_healthy()
        return await asyncio.to_thread(_post_all, server.port, first, files, tokens)
    finally:
        server.stop()


def _post_all(port: int, first: Sequence[Path], files: Sequence[Path], tokens: int) -> float:
    with httpx.Client(timeout=None) as client, ThreadPoolExecutor(_CONNECTIONS) as pool:

        def post(file: Path) -> None:
            url = f"data:image/jpeg;base64,{base64.b64encode(file.read_bytes()).decode()}"
            parts = [
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "text", "text": _PROMPT},
            ]
            body = {
                "model": "model",
                "messages": [{"role": "user", "content": parts}],
                "max_tokens": tokens,
                "temperature": 0,
            }
            address = f"http://127.0.0.1:{port}/v1/chat/completions"
            client.post(address, json=body).raise_for_status()

        list(pool.map(post, first))
        return _rate(lambda files: list(pool.map(post, files)), files)


def _job(
    model: str, folder: Path, first: Sequence[Path], files: Sequence[Path], tokens: int
) -> tuple[float, float]:
    """And the share of the time in steps."""
    trace = folder / f"trace-{next(_numbers)}.json"
    with Captioner(
        model, _PROMPT, max_tokens=tokens, temperature=0.0, trace=str(trace)
    ) as captioner:

        def run(files: Sequence[Path]) -> None:
            output = folder / f"{next(_numbers)}.jsonl"
            captioner.to_jsonl([str(file) for file in files], output, progress="none")

        run(first)
        started = time.monotonic()
        rate = _rate(run, files)
    return rate, _busy(trace, started, len(files) / rate)


def _busy(trace: Path, started: float, seconds: float) -> float:
    """The share of so many seconds that was spent in steps."""
    text = trace.read_text().rstrip().rstrip(",") + "]"
    steps: list[float] = [
        event["dur"] / 1e6
        for event in msgspec.json.decode(text)
        if event["ph"] == "X" and event["pid"] == 1 and event["ts"] / 1e6 >= started
    ]
    return sum(steps) / seconds


if __name__ == "__main__":
    main()
