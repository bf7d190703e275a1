"""Questions typed in a terminal, with the keys and the history of readline."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, ModuleType

from .history import History

try:
    import readline as _readline
except ImportError:  # a Python that was built without it; lines are typed as the terminal has them
    _readline = None  # type: ignore[assignment]

_PROMPT, _MORE = "> ", "… "
#: Of GNU readline. A paste is one text, whatever lines it has; Alt-Enter begins a new line.
_BINDINGS = (
    "set enable-bracketed-paste on",
    '"\\e\\C-m": "\\C-v\\C-j"',
    "tab: complete",
)

#: Gives what may stand in place of the last word of a line, both given.
Complete = Callable[[str, str], Sequence[str]]


class TerminalInput:
    """Reads from standard input, a terminal."""

    def __init__(self, history: History, complete: Complete) -> None:
        self._history = history
        #: Whether anything was typed when Ctrl-C came.
        self._typed = False
        if _readline is not None:
            _set_up(_readline, history.load(), complete)

    def read(self) -> str:
        """A question or a command. A line goes on after a backslash at its end.

        Raises EOFError for Ctrl-D, and KeyboardInterrupt for a Ctrl-C at the empty prompt; where
        something was typed, that is let go of.
        """
        lines: list[str] = []
        while True:
            try:
                line = self._line(_MORE if lines else _PROMPT)
            except KeyboardInterrupt:
                print()
                if not lines and not self._typed:
                    raise
                lines = []
                continue
            if line.endswith("\\"):
                lines.append(line[:-1])
                continue
            text = "\n".join([*lines, line])
            self._keep(text)
            return text

    def _line(self, prompt: str) -> str:
        with self._watching_interrupts():
            return input(prompt)

    def _keep(self, text: str) -> None:
        if text.strip():
            self._history.add(text)
            if _readline is not None:
                _readline.add_history(text)

    @contextmanager
    def _watching_interrupts(self) -> Iterator[None]:
        """Note what had been typed by then: only the handler can still see it."""

        def interrupt(number: int, frame: FrameType | None) -> None:
            self._typed = _readline is not None and bool(_readline.get_line_buffer())
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _set_up(readline: ModuleType, entries: Sequence[str], complete: Complete) -> None:
    for binding in _BINDINGS:
        readline.parse_and_bind(binding)
    readline.set_auto_history(False)
    readline.clear_history()
    for entry in entries:
        readline.add_history(entry)
    found: list[str] = []

    def next_completion(word: str, index: int) -> str | None:
        if index == 0:
            found[:] = complete(readline.get_line_buffer()[: readline.get_endidx()], word)
        return found[index] if index < len(found) else None

    readline.set_completer_delims(" \t\n")
    readline.set_completer(next_completion)
