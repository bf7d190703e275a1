"""A trace of what each step scheduled, to be opened in Perfetto or chrome://tracing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec

from ...protocol.scheduler_output import SchedulerOutput
from .request import Request

logger = logging.getLogger(__name__)

_STEPS, _REQUESTS = 1, 2


class StepTrace:
    """Writes the Trace Event Format: a slice for each step, and one for each request's life.

    The file is appended to, and its array is never closed, which the format allows: a trace
    survives the engine that wrote it, and a restarted engine goes on in the same file. Where it
    can't be written to, on a full disk for one, the log says so and the trace ends there; the
    engine goes on.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._has_failed = False
        if not self._path.exists() or self._path.stat().st_size == 0:
            names = {_STEPS: "steps", _REQUESTS: "requests"}
            self._append(b"[\n")
            self._write(
                [
                    {"name": "process_name", "ph": "M", "pid": pid, "args": {"name": name}}
                    for pid, name in names.items()
                ]
            )

    def step(self, output: SchedulerOutput, start: float, end: float, waiting: int) -> None:
        """A step that ran from `start` to `end`, in seconds, while `waiting` requests waited."""
        arguments = {
            "tokens": output.num_tokens,
            "scheduled": {
                item.request_id: f"{item.start}+{item.num_tokens}" for item in output.scheduled
            },
            "encoded": [media.media_key[:12] for media in output.encode],
            "preempted": output.preempted,
        }
        name = f"{len(output.scheduled)} requests, {output.num_tokens} tokens"
        counts = {"running": len(output.scheduled), "waiting": waiting}
        self._write(
            [
                _slice(_STEPS, 0, name, start, end, arguments),
                {"name": "queue", "ph": "C", "pid": _STEPS, "ts": start * 1e6, "args": counts},
            ]
        )

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
        slices = []
        for stage, (start, end) in stages.items():
            if start:
                name = f"{request.request_id} {stage}"
                row = request.sequence_number
                end = end or timings.finished
                slices.append(_slice(_REQUESTS, row, name, start, end, arguments))
        self._write(slices)

    def _write(self, events: list[dict[str, Any]]) -> None:
        self._append(b"".join(msgspec.json.encode(event) + b",\n" for event in events))

    def _append(self, data: bytes) -> None:
        if self._has_failed:
            return
        try:
            with self._path.open("ab") as file:
                file.write(data)
        except OSError as error:
            self._has_failed = True
            logger.error("the trace ends here: %s can't be written: %s", self._path, error)


def _slice(
    group: int, row: int, name: str, start: float, end: float, arguments: dict[str, Any]
) -> dict[str, Any]:
    times = {"ts": start * 1e6, "dur": (end - start) * 1e6}
    return {"name": name, "ph": "X", "pid": group, "tid": row, "args": arguments} | times
