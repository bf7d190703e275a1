"""A captioning job in a process of its own, which tests may kill: the captions are by a backend
that needs no model, all else is the product's.

    python caption_job.py OUTPUT SOURCE... [--sidecar ENDING] [--slow]

Prints a line once the job has begun.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from octavo.app.captioning.backends.backend import Read
from octavo.app.captioning.census import Census
from octavo.app.captioning.picture import Picture
from octavo.app.captioning.plan import Destination, Plan
from octavo.app.captioning.progress import Progress
from octavo.app.captioning.prompts.prompt_set import PromptSet
from octavo.app.captioning.run import Result, run_plan
from octavo.app.captioning.sources.read import SourceReader
from octavo.app.captioning.task import Answer, Captioned, Failed, Outcome, Task
from octavo.core.media.decode import decode_image
from octavo.core.protocol.media_error import MediaError
from octavo.core.protocol.media_limits import MediaLimits


def caption_of(task: Task) -> str:
    """What is said of a picture; it is told apart by it."""
    return f"{task.size[0]} x {task.size[1]}, {task.digest}"


class Measurer:
    """See Backend. Says what it measures."""

    def __init__(self, pause: float = 0.0) -> None:
        self.facts: dict[str, Any] = {"model": "measurer"}
        self.draining = False
        self._pause = pause
        self.num_answered = 0

    def start(self) -> None:
        print("begun", flush=True)

    def run(self, pictures: Iterable[Picture | None], read: Read) -> Iterator[Outcome]:
        with ThreadPoolExecutor(2) as pool:
            for batch in _batches(pictures, 8):
                if self.draining:
                    return
                for outcome in pool.map(read, batch):
                    yield self._answer(outcome) if isinstance(outcome, Task) else outcome

    def _answer(self, task: Task) -> Outcome:
        time.sleep(self._pause)
        self.num_answered += 1
        if isinstance(task.content, bytes):
            try:
                decode_image(task.content, MediaLimits())
            except MediaError as error:
                return Failed(task.picture, str(error), task)
        answer = Answer(caption_of(task), "stop", 5, 7)
        return Captioned(task, {question.name: answer for question in task.questions})

    def drain(self) -> None:
        self.draining = True

    def progress(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        """It holds nothing."""


def run_job(plan: Plan, backend: Measurer | None = None) -> Result:
    """In this process."""
    reader, census = SourceReader(plan.limits), Census()
    plan.check()
    progress = Progress("none", census)
    return run_plan(plan, backend or Measurer(), reader, progress, census, "Do it again.")


def _batches(pictures: Iterable[Picture | None], size: int) -> Iterator[list[Picture]]:
    batch: list[Picture] = []
    for picture in pictures:
        if picture is not None:
            batch.append(picture)
        if len(batch) == size or picture is None:
            time.sleep(0.001)
            yield batch
            batch = []
    yield batch


def main() -> None:
    words = sys.argv[1:]
    slow = "--slow" in words
    words = [word for word in words if word != "--slow"]
    sidecars = tuple(words[words.index("--sidecar") + 1 :]) if "--sidecar" in words else ()
    words = words[: words.index("--sidecar")] if sidecars else words
    output = None if words[0] == "none" else Path(words[0])
    plan = Plan(
        sources=words[1:],
        prompts=PromptSet.of(),
        destination=Destination(output=output, sidecars=sidecars),
        limits=MediaLimits(max_pixels=100_000),
    )
    result = run_job(plan, Measurer(0.002 if slow else 0.0))
    sys.exit(0 if result.ended_by is None else 128 + result.ended_by)


if __name__ == "__main__":
    main()
