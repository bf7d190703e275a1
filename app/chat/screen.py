"""Where answers, notes and errors are written."""

from __future__ import annotations

import os
import re
import shutil
from typing import TextIO

from .picture import Picture
from .picture_display import Protocol, detect_protocol, draw

#: What moves the cursor, changes colours or asks the terminal for something: never from a model.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_PALE, _PLAIN = "\x1b[2m", "\x1b[22m"


class Screen:
    """Where somebody talks, everything is in one place, and pictures are shown if they can be.
    Elsewhere answers alone go to `out`, all else to `errors`."""

    def __init__(self, out: TextIO, errors: TextIO, is_talk: bool) -> None:
        self._out = out
        #: A file or a pipe gets an answer as it is.
        self._is_terminal = out.isatty()
        self._beside = out if is_talk else errors
        self._thinking = False
        self._protocol: Protocol | None = detect_protocol(os.environ) if is_talk else None

    def thought(self, text: str) -> None:
        """What is new of what is thought before an answer, at once; pale in a terminal."""
        if not text:
            return
        self._thinking = True
        if self._beside.isatty():
            text = f"{_PALE}{_CONTROLS.sub('', text)}{_PLAIN}"
        print(text, end="", file=self._beside, flush=True)

    def answer(self, text: str) -> None:
        """What is new of an answer, at once."""
        if text and self._thinking:
            self._thinking = False
            print(file=self._beside, flush=True)
        self._out.write(_CONTROLS.sub("", text) if self._is_terminal else text)
        self._out.flush()

    def note(self, text: str) -> None:
        """Lines that are no part of an answer."""
        print(_CONTROLS.sub("", text), file=self._beside, flush=True)

    def error(self, text: str) -> None:
        """A line that says what went wrong."""
        self.note(f"octavo: {text}")

    def picture(self, picture: Picture) -> None:
        """Its name and size, and itself where that can be shown."""
        drawn = None
        if self._protocol is not None:
            drawn = draw(picture, self._protocol, shutil.get_terminal_size().columns)
        if drawn is not None:
            print(drawn, file=self._out)
        width, height = picture.size
        self.note(f"{picture.path.name}, {width} × {height}, goes with the next question")
