"""What was said so far, as the API of chat completions writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .picture import Picture


@dataclass(frozen=True)
class _Message:
    role: str
    text: str
    pictures: tuple[Picture, ...] = ()

    def written(self, url_of: Callable[[Picture], str]) -> dict[str, Any]:
        if not self.pictures:
            return {"role": self.role, "content": self.text}
        shown = [
            {"type": "image_url", "image_url": {"url": url_of(picture)}}
            for picture in self.pictures
        ]
        return {"role": self.role, "content": [*shown, {"type": "text", "text": self.text}]}


class Conversation:
    """system: what the model is told first. pictures: those that go with the next question."""

    def __init__(self, system: str | None = None, pictures: Sequence[Picture] = ()) -> None:
        self.system = system
        self.pictures = list(pictures)
        self._said: list[_Message] = []

    def asking(self, question: str) -> list[dict[str, Any]]:
        """All messages, with one more question at the end; pictures by their contents."""
        asked = _Message("user", question, tuple(self.pictures))
        return self._written([*self._said, asked], lambda picture: picture.data_url)

    def remember(self, question: str, answer: str) -> None:
        """A question was answered."""
        asked = _Message("user", question, tuple(self.pictures))
        self._said += [asked, _Message("assistant", answer)]
        self.pictures = []

    def clear(self) -> None:
        """Forget all but what the model is told first."""
        self._said, self.pictures = [], []

    def saved(self) -> dict[str, Any]:
        """All messages; pictures by their paths."""
        return {"messages": self._written(self._said, lambda picture: picture.file_url)}

    def _written(
        self, messages: Sequence[_Message], url_of: Callable[[Picture], str]
    ) -> list[dict[str, Any]]:
        told = [] if self.system is None else [_Message("system", self.system)]
        return [message.written(url_of) for message in [*told, *messages]]
