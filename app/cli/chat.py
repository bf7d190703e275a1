"""A conversation with a model in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...core.protocol.errors import RequestError
from ...core.protocol.sampling_params import SamplingParams
from ..offline.llm import LLM


class Conversation:
    """Remembers what was said. pictures: shown with the first question."""

    def __init__(
        self, llm: LLM, params: SamplingParams, system: str | None, pictures: Sequence[Path]
    ) -> None:
        self._llm = llm
        self._params = params
        self._messages: list[dict[str, Any]] = []
        self._pictures = list(pictures)
        if system is not None:
            self._messages.append({"role": "system", "content": system})

    def ask(self, question: str) -> str:
        """The answer to one more question. Raises RequestError, and forgets the question."""
        parts = [{"type": "image", "image": picture} for picture in self._pictures]
        content = [*parts, {"type": "text", "text": question}] if parts else question
        messages = [*self._messages, {"role": "user", "content": content}]
        answer = self._llm.chat(messages, self._params)[0].outputs[0].text
        self._messages = [*messages, {"role": "assistant", "content": answer}]
        self._pictures = []
        return answer

    def talk(self) -> None:
        """Answer each line that is typed, until the input ends."""
        while True:
            try:
                question = input("> ")
            except EOFError:
                return
            try:
                print(self.ask(question) if question.strip() else "")
            except RequestError as error:
                print(f"octavo: {error}")
