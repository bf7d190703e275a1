"""Pictures and questions for what answers in batch captioning."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace

from octavo.app.captioning.picture import BytesAt, Picture
from octavo.app.captioning.task import Outcome, Question, Task
from PIL import Image


def file_of(picture: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def coloured(index: int) -> bytes:
    """A file; each index has its own colour."""
    return file_of(Image.new("RGB", (16, 16), (index % 256, index // 256, 99)))


def picture_of(name: str, data: bytes) -> Picture:
    return Picture(name, BytesAt(data))


def question(
    text: str = "What is in this picture?", name: str = "caption", **sampling: object
) -> Question:
    parts = ({"type": "image"}, {"type": "text", "text": text})
    messages = ({"role": "user", "content": parts},)
    return Question(name, messages, {"temperature": 0.0, "max_tokens": 8, **sampling})


def reader(*questions: Question) -> Callable[[Picture], Task | Outcome]:
    """Asks the same of each picture; {name} in a text is the picture's."""

    def read(picture: Picture) -> Task:
        assert isinstance(picture.at, BytesAt)
        asked = tuple(_named(question, picture.name) for question in questions)
        return Task(picture, picture.at.data, picture.name, (16, 16), asked)

    return read


def names(outcomes: Sequence[Outcome]) -> list[str]:
    """Of the pictures."""
    found = []
    for outcome in outcomes:
        task = getattr(outcome, "task", None)
        found.append(outcome.picture.name if task is None else task.picture.name)
    return found


def _named(question: Question, name: str) -> Question:
    (message,) = question.messages
    shown, text = message["content"]
    text = {**text, "text": text["text"].replace("{name}", name)}
    messages = ({**message, "content": (shown, text)},)
    return replace(question, messages=messages)
