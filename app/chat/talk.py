"""One conversation with a model: questions, answers as they come, and pictures."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from .backend import Backend, ChatError
from .conversation import Conversation
from .picture import read_picture
from .sampling import Sampling
from .screen import Screen


class Talk:
    """written: files that were saved, and may be written over."""

    def __init__(
        self, backend: Backend, conversation: Conversation, sampling: Sampling, screen: Screen
    ) -> None:
        self.conversation = conversation
        self.sampling = sampling
        self.screen = screen
        self.written: set[Path] = set()
        self._backend = backend

    def ask(self, question: str) -> None:
        """Write the answer as it comes.

        Raises ChatError, and forgets the question, whose pictures wait for the next one; and
        KeyboardInterrupt for a Ctrl-C, which ends the answer: what came of it is remembered.
        """
        answer, reason = "", None
        messages = self.conversation.asking(question)
        try:
            with closing(self._backend.answer(messages, self.sampling.given)) as pieces:
                for piece in pieces:
                    answer += piece.text
                    reason = piece.finish_reason or reason
                    self.screen.thought(piece.thought)
                    self.screen.answer(piece.text)
        except KeyboardInterrupt:
            if answer:
                self.conversation.remember(question, answer)
            self.screen.answer("\n")
            raise
        except ChatError:
            if answer:
                self.screen.answer("\n")
            raise
        self.conversation.remember(question, answer)
        self.screen.answer("\n")
        if reason == "length":
            self.screen.note("(cut off: max_tokens, or the model's context, is used up)")

    def attach(self, names: Iterable[str]) -> None:
        """Show pictures with the next question: all of them or, raising ChatError, none."""
        pictures = [read_picture(name, self._backend.limits) for name in names]
        self.conversation.pictures += pictures
        for picture in pictures:
            self.screen.picture(picture)
