"""The model of one actor of Ray. Nothing here needs Ray, and none of the driver's process needs a
model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....core.protocol.config import ConfigError, EngineConfig
from ....core.registry.registry import UnsupportedModelError
from ..picture import BytesAt, Picture
from ..task import Captioned, Failed, Outcome, Task
from .local import LocalBackend
from .sent_task import Answered, SentTask


class ActorModel:
    """settings: of the engine; see EngineConfig."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._backend = LocalBackend(EngineConfig(**settings), {})

    def load(self) -> str | None:
        """Returns why the model can't be loaded, if it can't, in a sentence for its user."""
        try:
            self._backend.start()
        except (ConfigError, UnsupportedModelError, OSError) as error:
            return str(error)
        return None

    def answer(self, sent: Sequence[SentTask]) -> list[Answered]:
        """What comes of each. Several threads may ask at once, and share the model's batches."""
        tasks = {str(number): _task(str(number), task) for number, task in enumerate(sent)}
        pictures = [task.picture for task in tasks.values()]
        return list(map(_answered, self._backend.run(pictures, lambda p: tasks[p.name])))


def _task(name: str, sent: SentTask) -> Task:
    """What the driver alone needs to know of it is left out."""
    picture = Picture(name, BytesAt(b""))
    return Task(picture, sent.content, digest="", size=(0, 0), questions=sent.questions)


def _answered(outcome: Outcome) -> Answered:
    if isinstance(outcome, Captioned):
        return dict(outcome.answers)
    assert isinstance(outcome, Failed), "tasks are answered, or fail"
    return outcome.error
