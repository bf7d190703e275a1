"""A trace of what each step scheduled, to be opened in Perfetto or chrome://tracing."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from .request import Request
from .scheduler_output import SchedulerOutput

_STEPS, _REQUESTS = 1, 2


class StepTrace:
    """Writes the Trace Event Format: a slice for each step, and one for each request's life.

    The file is appended to, and its array is never closed, which the format allows: a trace
    survives the engine that wrote it, and a restarted engine goes on in the same file.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = Path(path).open("ab")  # noqa: SIM115 - closed by __exit__
        if self._file.tell() == 0:
            self._file.write(b"[\n")
            self._write({"name": "process_name", "ph": "M", "pid": _STEPS} | _name("steps"))
            self._write({"name": "process_name", "ph": "M", "pid": _REQUESTS} | _name("requests"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def step(self, output: SchedulerOutput, start: float, end: float, waiting: int) -> None:
        """A step that ran from `start` to `end`, in seconds, while `waiting` requests waited."""
        arguments = {
            "tokens": output.num_tokens,
            "scheduled": {
                item.request.request_id: f"{item.start}+{item.num_tokens}"
                for item in output.scheduled
            },
            "encoded": [media.span.media_key[:12] for media in output.encode],
            "preempted": [request.request_id for request in output.preempted],
        }
        name = f"{len(output.scheduled)} requests, {output.num_tokens} tokens"
        self._slice(_STEPS, 0, name, start, end, arguments)
        counts = {"running": len(output.scheduled), "waiting": waiting}
        self._write({"name": "queue", "ph": "C", "pid": _STEPS, "ts": start * 1e6, "args": counts})
        self._file.flush()

    def request(self, request: Request) -> None:
        """A request that has ended: its time in the queue, to the first token, and after."""
        timings = request.timings
        stages = {
            "queued": (timings.arrival, timings.first_scheduled),
            "prefill": (timings.first_scheduled, timings.first_token),
            "decode": (timings.first_token, timings.finished),
        }
        arguments = {
            "prompt_tokens": request.num_prompt_tokens,
            "cached_tokens": request.num_cached_tokens,
            "output_tokens": request.num_output_tokens,
            "status": request.status.name,
        }
        for stage, (start, end) in stages.items():
            if start:
                name = f"{request.request_id} {stage}"
                row = request.sequence_number
                self._slice(_REQUESTS, row, name, start, end or timings.finished, arguments)
            if not end:
                break

    def _slice(
        self, group: int, row: int, name: str, start: float, end: float, arguments: dict[str, Any]
    ) -> None:
        times = {"ts": start * 1e6, "dur": (end - start) * 1e6}
        event = {"name": name, "ph": "X", "pid": group, "tid": row, "args": arguments}
        self._write(event | times)

    def _write(self, event: dict[str, Any]) -> None:
        self._file.write(msgspec.json.encode(event) + b",\n")


def _name(name: str) -> dict[str, Any]:
    return {"args": {"name": name}}
