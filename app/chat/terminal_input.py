"""Questions typed in a terminal, with the keys and the history of readline."""

from __future__ import annotations

import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, ModuleType

from .history import History

try:
    import readline as _readline
except ImportError:  # a Python that was built without it; lines are typed as the terminal has them
    _readline = None  # type: ignore[assignment]

_PROMPT, _MORE = "> ", "… "
_AT_ONCE_S = 0.05
#: A paste is one text, whatever lines it has; Alt-Enter begins a new line.
_GNU_BINDINGS = (
    "set enable-bracketed-paste on",
    '"\\e\\C-m": "\\C-v\\C-j"',
    "tab: complete",
)
#: Of libedit, which poses as readline in Pythons that are not to be under its licence.
_LIBEDIT_BINDINGS = ("bind ^I rl_complete",)

#: Gives what may stand in place of the last word of a line, both given.
Complete = Callable[[str, str], Sequence[str]]


class TerminalInput:
    """Reads from standard input, a terminal."""

    def __init__(self, history: History, complete: Complete) -> None:
        self._history = history
        #: GNU readline alone knows where a paste ends, and what is typed when Ctrl-C comes.
        self._is_gnu = _readline is not None and not _is_libedit(_readline)
        #: Whether anything was typed when Ctrl-C came.
        self._typed = False
        #: Whether Ctrl-C came at the empty prompt, and nothing since.
        self._ending = False
        if _readline is not None:
            _set_up(_readline, history.load(), complete)

    def read(self) -> str:
        """A question or a command. A line goes on after a backslash at its end, and in a paste.

        A Ctrl-C lets go of what was typed. At the empty prompt it takes two, for one may have
        been meant for an answer that had just ended. Raises EOFError for them and for Ctrl-D.
        """
        lines: list[str] = []
        comes_at_once = False
        while True:
            try:
                line = self._line(_MORE if lines else _PROMPT)
            except KeyboardInterrupt:
                print()
                self._count_interrupt(is_empty=not lines and not self._typed)
                lines, comes_at_once = [], False
                continue
            self._ending = False
            goes_on = line.endswith("\\")
            lines.append(line[:-1] if goes_on else line)
            came_at_once, comes_at_once = comes_at_once, self._has_more_at_once()
            if goes_on or came_at_once or comes_at_once:
                continue
            text = "\n".join(lines).rstrip("\n")
            self._keep(text)
            return text

    def _line(self, prompt: str) -> str:
        with self._watching_interrupts():
            return input(prompt)

    def _has_more_at_once(self) -> bool:
        """Whether another line follows faster than it is typed, where pastes have no other sign.
        What they end with may be a part of a line, so that a person must end the last one."""
        return not self._is_gnu and bool(select.select([sys.stdin], [], [], _AT_ONCE_S)[0])

    def _count_interrupt(self, is_empty: bool) -> None:
        if not is_empty:
            self._ending = False
        elif self._ending:
            raise EOFError
        else:
            self._ending = True
            print("Ctrl-C once more ends, as does Ctrl-D")

    def _keep(self, text: str) -> None:
        if text.strip():
            self._history.add(text)
            if _readline is not None:
                _readline.add_history(text)

    @contextmanager
    def _watching_interrupts(self) -> Iterator[None]:
        """Note what had been typed by then: only the handler can still see it."""

        def interrupt(number: int, frame: FrameType | None) -> None:
            self._typed = self._is_gnu and bool(_readline.get_line_buffer())
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _is_libedit(readline: ModuleType) -> bool:
    # Python says so by an attribute from 3.13 on.
    return getattr(readline, "backend", "") == "editline" or "libedit" in (readline.__doc__ or "")


def _set_up(readline: ModuleType, entries: Sequence[str], complete: Complete) -> None:
    for binding in _LIBEDIT_BINDINGS if _is_libedit(readline) else _GNU_BINDINGS:
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
