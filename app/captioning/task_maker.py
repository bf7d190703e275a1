"""From a picture of a source to a task for a backend: read, measured, and its prompts rendered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from ...core.media.decode import Colour
from ...core.protocol.media_error import MediaError
from ...core.protocol.media_limits import MediaLimits
from .picture import NotAPictureError, Picture, PictureError, printable
from .prompts.prompt_set import PromptSet
from .repeats import Repeats
from .sources.picture_reader import PictureReader
from .task import Failed, Outcome, Repeated, Skipped, Task, asked_of


class TaskMaker:
    """Makes tasks; several threads call it at once.

    obstacle: why a picture's row could not be written, if anything is in its way.
    repeats: of pictures with the same content; None makes a task of each.
    """

    def __init__(
        self,
        reader: PictureReader,
        prompts: PromptSet,
        limits: MediaLimits,
        background: Colour,
        obstacle: Callable[[Picture], str | None] = lambda picture: None,
        repeats: Repeats | None = None,
    ) -> None:
        self._reader = reader
        self._prompts = prompts
        self._limits = limits
        self._background = background
        self._obstacle = obstacle
        self._repeats = repeats

    def __call__(self, picture: Picture) -> Task | Outcome:
        """Raises nothing about a picture: that is an outcome."""
        try:
            obstacle = self._obstacle(picture)
            return self._make(picture) if obstacle is None else Failed(picture, obstacle)
        except NotAPictureError as found:
            return Skipped(picture, found.kind)
        except (PictureError, MediaError) as error:
            return Failed(picture, printable(str(error)))

    def _make(self, picture: Picture) -> Task | Outcome:
        data = self._reader.read(picture)
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        content, size = self._open(data)
        questions = self._prompts.questions(picture, digest, data)
        asked = asked_of(digest, questions)
        if self._repeats is not None and not self._repeats.claim(asked, picture):
            return Repeated(picture, asked, digest, size)
        return Task(picture, content, digest, size, questions)
