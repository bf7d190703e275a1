"""What every backend does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from ..picture import Picture
from ..task import Outcome, Task

#: Reads a picture and renders its prompts; several threads call it at once. What needs no answer,
#: or can't be read, is an outcome at once.
Read = Callable[[Picture], Task | Outcome]


class Backend(Protocol):
    """Answers questions about pictures."""

    @property
    def facts(self) -> dict[str, Any]:
        """What answers: "model", and what else an output's header and a journal keep of it, such
        as "weights" (a digest). Another run with other facts would give other captions."""

    def start(self) -> None:
        """Load the model, or connect to it. Raises RequestError or ConfigError if that fails."""

    def run(self, pictures: Iterable[Picture | None], read: Read) -> Iterator[Outcome]:
        """An outcome for each picture, in order; None in their place says that there is none yet,
        so that no answer waits for a slow source. Pictures are taken from the iterable, by the
        thread that iterates the result, no further ahead than a bounded window, and read in other
        threads while earlier ones are answered. A picture that fails is a Failed; the job goes
        on. Raises what ends a job, as `start` does. Closing the iterator gives up what runs."""

    def drain(self) -> None:
        """Take no further pictures, for good; `run` ends once those that it has begun have ended.
        From any thread, or a signal handler."""

    def progress(self) -> dict[str, float]:
        """Numbers for whoever watches, such as "running" and "cache_hits"."""

    def close(self) -> None:
        """Let the model, connections or actors go."""
