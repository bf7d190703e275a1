"""`octavo chat`: in a terminal, line by line from a pipe, or a single question."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence

from .backend import Backend, ChatError
from .commands import EndOfChat, run_command
from .completion import complete
from .conversation import Conversation
from .history import History, history_file
from .picture import Picture
from .sampling import Sampling
from .screen import Screen
from .talk import Talk
from .terminal_input import TerminalInput
from .typed_text import read_command, split_dropped

#: As shells say that Ctrl-C ended a program.
_INTERRUPTED = 130
#: For --prompt: all of standard input.
_FROM_STDIN = "-"


def chat(
    backend: Backend,
    sampling: Sampling,
    system: str | None,
    pictures: Sequence[Picture],
    prompt: str | None,
) -> int:
    """Answer one question, or all that are typed; returns the exit status. pictures: shown with
    the first question."""
    _be_lenient(sys.stdin, sys.stdout)
    in_terminal = prompt is None and sys.stdin.isatty() and sys.stdout.isatty()
    screen = Screen(sys.stdout, sys.stderr, in_terminal)
    talk = Talk(backend, Conversation(system, pictures), sampling, screen)
    try:
        if in_terminal:
            return _in_terminal(talk, backend.name)
        if prompt is None:
            return _line_by_line(talk, sys.stdin)
        return _once(talk, sys.stdin.read().strip("\n") if prompt == _FROM_STDIN else prompt)
    except KeyboardInterrupt:
        return 0 if in_terminal else _INTERRUPTED


def _once(talk: Talk, question: str) -> int:
    try:
        talk.ask(question)
    except ChatError as error:
        talk.screen.error(str(error))
        return 2
    return 0


def _line_by_line(talk: Talk, lines: Iterable[str]) -> int:
    """Each is a question or a command; 1 if something could not be done."""
    status = 0
    try:
        for line in lines:
            status = max(status, int(not _take(talk, line.rstrip("\n"))))
    except EndOfChat:
        pass
    return status


def _in_terminal(talk: Talk, name: str) -> int:
    typed = TerminalInput(History(history_file()), complete)
    talk.screen.note(f"{name} · /help lists the commands, Ctrl-D ends")
    for picture in talk.conversation.pictures:
        talk.screen.picture(picture)
    while True:
        try:
            text = typed.read()
        except EOFError:
            return 0
        try:
            _take(talk, text)
        except EndOfChat:
            return 0
        except KeyboardInterrupt:  # ended the answer
            _say_what_waits(talk)


def _take(talk: Talk, text: str) -> bool:
    """A command or a question, or nothing. False for what could not be done; why is written.
    Raises EndOfChat, and KeyboardInterrupt for a Ctrl-C."""
    try:
        command = read_command(text)
        if command is not None:
            run_command(talk, *command)
            return True
        dropped, question = split_dropped(text)
        talk.attach(dropped)
        if question.strip():
            talk.ask(question)
    except ChatError as error:
        talk.screen.error(str(error))
        _say_what_waits(talk)
        return False
    return True


def _say_what_waits(talk: Talk) -> None:
    if talk.conversation.pictures:
        talk.screen.note('(pictures wait for the next question; /image "" drops them)')


def _be_lenient(*streams: object) -> None:
    """Characters that a terminal can't send or show are replaced, and end nothing."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
