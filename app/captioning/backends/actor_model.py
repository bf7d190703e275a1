"""The model of one actor of Ray. Nothing here needs Ray, and none of the driver's process needs a
model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ....core.protocol.config import ConfigError
from ....core.protocol.errors import RequestError
from ....core.protocol.messages import EngineRequest
from ....core.protocol.outputs import RequestOutput
from ....core.registry.registry import UnsupportedModelError
from ..task import Answer, Question
from .sent_task import Answered, SentTask
from .shown_pictures import picture_part, with_pictures

if TYPE_CHECKING:  # the driver, which names this class, needs no torch
    from ...offline.llm import LLM


class ActorModel:
    """settings: of the engine; see EngineConfig."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = dict(settings)
        self._llm: LLM | None = None

    def load(self) -> str | None:
        """Returns why the model can't be loaded, if it can't, in a sentence for its user."""
        from ...offline.llm import LLM

        try:
            self._llm = LLM(**self._settings)
        except (ConfigError, UnsupportedModelError, OSError) as error:
            return str(error)
        return None

    def answer(self, tasks: Sequence[SentTask]) -> list[Answered]:
        """What comes of each. Several threads may ask at once, and share the model's batches."""
        llm = self._llm
        assert llm is not None
        asked = [(task, question) for task in tasks for question in task.questions]
        outputs = llm.stream(asked, partial(_request, llm))
        return [_answered(task, [next(outputs) for _ in task.questions]) for task in tasks]


def _request(llm: LLM, asked: tuple[SentTask, Question]) -> EngineRequest:
    task, question = asked
    if question.choices:
        raise RequestError("an actor can't choose among choices", "choices")
    shown: dict[str, Any] = {"type": "image", "image": task.content}
    if isinstance(task.content, bytes):
        shown = picture_part(task.content, any_file=True)
    messages = with_pictures(question.messages, shown, any_file=True)
    return llm.prepare_chat(messages, llm.default_sampling_params(**question.sampling))


def _answered(task: SentTask, outputs: Sequence[RequestOutput | Exception]) -> Answered:
    answers = {}
    for question, output in zip(task.questions, outputs, strict=True):
        if isinstance(output, Exception):
            prompt = f"prompt {question.name}: " if len(task.questions) > 1 else ""
            return f"{prompt}{_without_place(output)}"
        (completion,) = output.outputs
        answers[question.name] = Answer(
            completion.text,
            completion.finish_reason or "",
            len(output.prompt_token_ids),
            len(completion.token_ids),
        )
    return answers


def _without_place(error: Exception) -> str:
    """An error is told of a picture; which part of the messages that is says nothing."""
    place = error.param if isinstance(error, RequestError) else None
    return str(error).removeprefix(f"{place}: ")
