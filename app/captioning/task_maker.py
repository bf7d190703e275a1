"""From a picture of a source to a task for a backend: read, measured, and its prompts rendered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from ...core.media.decode_reduced import HARD_LIMIT, decode_reduced
from ...core.media.flatten import Colour
from ...core.media.headers.image_header import read_header
from ...core.protocol.media_error import MediaError
from ...core.protocol.media_limits import MediaLimits
from .picture import NotAPictureError, Picture, PictureError, printable
from .prompts.prompt_set import PromptSet
from .repeats import Repeats
from .sources.read import SourceReader
from .task import Failed, Outcome, Repeated, Skipped, Task, asked_of


class TaskMaker:
    """Makes tasks; several threads call it at once.

    limits: pictures with more pixels are shown at a reduced size. obstacle: why a picture's row
    could not be written, if anything is in its way.
    repeats: of pictures with the same content; None makes a task of each.
    """

    def __init__(
        self,
        reader: SourceReader,
        prompts: PromptSet,
        limits: MediaLimits,
        background: Colour,
        obstacle: Callable[[Picture], str | None] = lambda picture: None,
        repeats: Repeats | None = None,
    ) -> None:
        self._reader = reader
        self._prompts = prompts
        self._limits = limits
        # More pixels than that are decoded at a reduced size.
        self._header_limits = replace(limits, max_pixels=max(limits.max_pixels, HARD_LIMIT))
        self._background = background
        self._obstacle = obstacle
        self._repeats = repeats

    def __call__(self, picture: Picture) -> Task | Outcome:
        """Raises nothing about a picture: that is an outcome."""
        try:
            return self._make(picture, self._reader.read(picture))
        except NotAPictureError as found:
            return Skipped(picture, found.kind)
        except (PictureError, MediaError) as error:
            return Failed(picture, printable(str(error)))

    def _make(self, picture: Picture, data: bytes) -> Task | Outcome:
        size = read_header(data, self._header_limits).size
        if (obstacle := self._obstacle(picture)) is not None:
            return Failed(picture, obstacle)
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        questions = self._prompts.questions(picture, digest, data)
        asked = asked_of(digest, questions)
        if self._repeats is not None:
            claim = self._repeats.claim(asked)
            if not claim.is_new:
                return Repeated(picture, asked, digest, size, claim.known)
        task = Task(picture, data, digest, size, questions)
        if size.width * size.height <= self._limits.max_pixels:
            return task
        try:
            reduced = decode_reduced(data, self._limits, self._background)
        except MediaError as error:  # of a task, as others may wait for what comes of it
            return Failed(picture, str(error), task)
        return replace(task, content=reduced.image)
