"""A picture that has been read with what is asked of it, and what came of that."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL.Image import Image

from ...core.protocol.constraints.structured_outputs import StructuredOutputsParams
from .journal import Entry
from .picture import Picture


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt, rendered for one picture.

    name: of the prompt. messages: OpenAI-style; exactly one part, {"type": "image"}, stands for
        the picture, and few-shot pictures are parts with "image" or "image_url".
    sampling: fields of SamplingParams that differ from the model's defaults.
    choices: the answer is one of these texts, if there are any.
    form: what the answer is kept to, if anything: a JSON Schema.
    """

    name: str
    messages: tuple[Mapping[str, Any], ...]
    sampling: Mapping[str, Any]
    choices: tuple[str, ...] = ()
    form: StructuredOutputsParams | None = None

    def fault_of(self, answer: Answer) -> str | None:
        """Why an answer is none, if so."""
        if self.form is not None and answer.finish_reason == "length":
            return (
                f"the answer was cut after {answer.completion_tokens} tokens, before it was what "
                "its schema says; raise --max-tokens, or bound the schema"
            )
        return None


@dataclass(frozen=True, slots=True)
class Task:
    """content: the file's bytes, or a picture that was decoded at a reduced size, as the file has
    more pixels than are taken. digest: of the file's bytes, in hex. size: width and height,
    upright, of the file's picture."""

    picture: Picture
    content: bytes | Image = field(repr=False)
    digest: str
    size: tuple[int, int]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """finish_reason: "stop" or "length"."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Captioned:
    """answers: by the name of the prompt, not post-processed yet."""

    task: Task
    answers: Mapping[str, Answer]

    @property
    def picture(self) -> Picture:
        """The task's."""
        return self.task.picture


@dataclass(frozen=True, slots=True)
class Failed:
    """task: None where the picture could not even be read."""

    picture: Picture
    error: str
    task: Task | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """What turned out to be none when it was read, or needs no answer: `why` is a Skip's kind."""

    picture: Picture
    why: str


@dataclass(frozen=True, slots=True)
class Repeated:
    """A picture with the same content as another of the job, that is asked the same. asked: see
    `asked_of`. digest, size: see Task. known: what it takes over, unless that is yet to come."""

    picture: Picture
    asked: bytes
    digest: str
    size: tuple[int, int]
    known: Entry | None = None


Outcome = Captioned | Failed | Skipped | Repeated


def asked_of(digest: str, questions: Sequence[Question]) -> bytes:
    """What an answer depends on within one job: a picture's content, and the texts that were
    rendered for it."""
    asked = hashlib.blake2b(digest.encode(), digest_size=16)
    for question in questions:
        for text in _texts(question):
            asked.update(b"\0" + text.encode("utf-8", "surrogatepass"))
    return asked.digest()


def _texts(question: Question) -> Iterator[str]:
    yield question.name
    yield repr(sorted(question.sampling.items()))
    for message in question.messages:
        content = message["content"]
        parts = [{"text": content}] if isinstance(content, str) else content
        yield from (str(part["text"]) for part in parts if "text" in part)
