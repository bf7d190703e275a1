"""What an actor of Ray is sent, and what it says to that."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from PIL.Image import Image

from ..task import Answer, Question, Task
from .shown_pictures import PLACE, with_pictures

#: Answers by the name of the prompt, or why there are none.
Answered = dict[str, Answer] | str


@dataclass(frozen=True, slots=True)
class SentTask:
    """Of a Task, what an actor needs, in plain containers, which can be pickled. Few-shot pictures
    are in the messages as data: URLs, as their files may be on no other machine."""

    content: bytes | Image = field(repr=False)
    questions: tuple[Question, ...]


def to_send(task: Task) -> SentTask:
    """Raises RequestError for a few-shot picture that can't be had."""
    return SentTask(task.content, tuple(_carried(question) for question in task.questions))


def _carried(question: Question) -> Question:
    messages = with_pictures(question.messages, PLACE, any_file=True)
    return replace(question, messages=tuple(messages), sampling=dict(question.sampling))
