"""What a decode step costs beside the forward, part by part.

    python -m octavo.bench.step_loop [--steps N] [--running N …]

The engine's loop as it runs behind a server, with its messages, but with the server's part of a
step (receiving and detokenising) in the same thread, so that each is timed alone. The model has
SmolLM2's vocabulary and one narrow layer. Columns are medians over the steps, in microseconds;
"gap" is what lies between two forwards: all but the forward itself and the server's part.
"""

from __future__ import annotations

import argparse
import random
import socket
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..app.table import print_table
from ..core.checkpoints.find_checkpoint import find_checkpoint
from ..core.client.engine_process import EngineLoop
from ..core.client.request_state import RequestState
from ..core.engine.engine_core import EngineCore
from ..core.process.wire import Connection
from ..core.prompts.tokenizer import Tokenizer
from ..core.protocol.config import EngineConfig
from ..core.protocol.messages import EngineRequest, RequestsStarted, StepReport
from ..core.protocol.sampling_params import SamplingParams
from ..core.registry.registry import get_registry
from .machine import describe_machine
from .stopwatch import Stopwatch
from .wordy_checkpoint import VOCAB_SIZE, save_wordy

FromEngine = StepReport | RequestsStarted

_NUM_QUEUED = (0, 10_000)
_SAMPLING = {
    "greedy": {"temperature": 0.0},
    "top-p": {"temperature": 0.8, "top_p": 0.9, "seed": 1},
    "top-k": {"temperature": 0.8, "top_k": 50, "seed": 1},
}
_ENGINE_PARTS = ("schedule", "batch", "sample", "update", "messages")
_SERVER_PARTS = ("receive", "detokenise")
_PROMPT_LENGTH = 200
_WARM_UP = 10


def main() -> None:
    """Print a table of every number of running and queued requests."""
    parser = argparse.ArgumentParser(description="What a decode step costs beside the forward.")
    parser.add_argument("--steps", type=int, default=100, help="how many are measured of each")
    parser.add_argument(
        "--running", type=int, nargs="+", default=[1, 8, 32, 128], help="requests that run at once"
    )
    options = parser.parse_args()
    print(describe_machine())
    parts = (*_ENGINE_PARTS, "gap", "forward", *_SERVER_PARTS)
    rows = [["sampling", "running", "queued", *parts]]
    with tempfile.TemporaryDirectory() as folder:
        save_wordy(Path(folder))
        for sampling, settings in _SAMPLING.items():
            for running in options.running:
                for queued in _NUM_QUEUED:
                    medians = _medians(Path(folder), settings, running, queued, options.steps)
                    numbers = [f"{medians[part] * 1e6:.0f}" for part in parts]
                    rows.append([sampling, str(running), str(queued), *numbers])
    print("microseconds a step, median:")
    print_table(rows)


def _medians(
    folder: Path, settings: dict[str, Any], running: int, queued: int, steps: int
) -> dict[str, float]:
    """Seconds of each part of a step."""
    laps = _run(folder, settings, running, queued, steps)
    for lap in laps:
        lap["gap"] = sum(lap[part] for part in _ENGINE_PARTS)
    return {part: statistics.median(lap[part] for lap in laps) for part in laps[0]}


def _run(
    folder: Path, settings: dict[str, Any], running: int, queued: int, steps: int
) -> list[dict[str, float]]:
    config = EngineConfig(
        model=str(folder),
        dtype="float32",
        max_num_seqs=running,
        max_num_batched_tokens=running * _PROMPT_LENGTH,
        kv_cache_memory=512 * 2**20,
    )
    checkpoint = find_checkpoint(config.model)
    core = EngineCore(config, checkpoint, get_registry())
    tokenizer = Tokenizer(checkpoint)
    params = SamplingParams(max_tokens=None, ignore_eos=True, **settings)
    with _connected() as (engine_socket, server_socket):
        loop = EngineLoop(core, Connection(engine_socket, EngineRequest))
        states = {}
        for request in _requests(running + queued, params):
            states[request.request_id] = RequestState(request, tokenizer)
            core.add(request)
        server = Connection[FromEngine](server_socket, FromEngine)
        watch = Stopwatch()
        _watch_engine(watch, core, loop)
        laps = []
        for _ in range(_WARM_UP + steps):
            loop.step()
            with watch.part("receive"):
                report = server.receive()
                while isinstance(report, RequestsStarted):
                    report = server.receive()
            assert report is not None
            with watch.part("detokenise"):
                for output in report.outputs:
                    states[output.request_id].update(output)
                    states[output.request_id].to_output()
            laps.append(watch.lap())
    return laps[_WARM_UP:]


def _watch_engine(watch: Stopwatch, core: EngineCore, loop: EngineLoop) -> None:
    executor: Any = core._executor
    runner, scheduler = executor._runner, core._scheduler
    for name in ("embed", "forward", "compute_logits"):
        watch.watch(runner._model, name, "forward")
    watch.watch(scheduler, "expire", "schedule")
    watch.watch(scheduler, "schedule", "schedule")
    watch.watch(runner, "execute", "batch")
    watch.watch(executor._sampler, "sample", "sample")
    watch.watch(core, "step", "update")
    watch.watch(loop, "step", "messages")


def _requests(count: int, params: SamplingParams) -> Iterator[EngineRequest]:
    rng = random.Random(0)
    for i in range(count):
        prompt = [rng.randrange(VOCAB_SIZE) for _ in range(_PROMPT_LENGTH)]
        yield EngineRequest(str(i), prompt, params, [], [], 0.0)


@contextmanager
def _connected() -> Iterator[Sequence[socket.socket]]:
    first, second = socket.socketpair()
    with first, second:
        yield first, second


if __name__ == "__main__":
    main()
