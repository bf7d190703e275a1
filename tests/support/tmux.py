"""A real terminal, by tmux: what a person types, and what is then on the screen."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from serving import wait_until

#: Of `octavo chat`, where nothing is typed yet.
PROMPT = "\n>"
#: Kernels may have to be compiled first.
_PATIENCE_S = 30
_SIZE = ("-x", "100", "-y", "50")


class Terminal:
    """One program in a window of a tmux server of its own."""

    def __init__(self, socket: Path, environment: Mapping[str, str]) -> None:
        self._socket = socket
        self._environment = {**os.environ, "LC_ALL": "C.UTF-8", **environment}

    def start(self, command: Sequence[str]) -> None:
        """Its exit status is the last line on the screen."""
        shown = f"{shlex.join(command)}; echo status $?; exec sleep 600"
        self._tmux("new-session", "-d", *_SIZE, shown)

    def type(self, text: str, *keys: str) -> None:
        """Letters, and then keys by tmux's names, such as Enter, Left, C-c or M-Enter."""
        if text:
            self._tmux("send-keys", "-l", "--", text)
        if keys:
            self._tmux("send-keys", *keys)

    def paste(self, text: str) -> None:
        """As from a clipboard: in brackets, where the program asks for them."""
        self._tmux("load-buffer", "-", given=text)
        self._tmux("paste-buffer", "-p", "-d")

    def screen(self, *options: str) -> str:
        """The lines that are on it, without what is empty at the end of each and of all; those too
        long for it are whole. options: of tmux's capture-pane."""
        lines = self._tmux("capture-pane", "-p", "-J", *options).splitlines()
        return "\n".join(line.rstrip() for line in lines).rstrip()

    def wait_for(self, end: str) -> str:
        """The screen, once it ends so."""
        screens = [""]

        def ends() -> bool:
            screens[0] = self.screen()
            return screens[0].endswith(end)

        try:
            wait_until(ends, _PATIENCE_S)
        except pytest.fail.Exception:
            pytest.fail(f"waited in vain for {end!r} at the end of:\n{screens[0]}")
        return screens[0]

    def say(self, text: str) -> str:
        """A line at a prompt; gives what is written until the next prompt."""
        self.type(text)
        return self.enter(f"> {text}")

    def begin(self, text: str) -> None:
        """As `say`, but only until something is written; the text must be new on the screen."""
        self.type(text)
        self.wait_for(f"> {text}")
        self.type("", "Enter")
        wait_until(lambda: self.screen().partition(f"> {text}\n")[2] != "", _PATIENCE_S)

    def enter(self, typed: str) -> str:
        """As `say`, for what was typed; the screen ends so."""
        self.wait_for(typed)
        self.type("", "Enter")
        return self.wait_for(PROMPT).rpartition(f"{typed}\n")[2].removesuffix(PROMPT)

    def end(self) -> None:
        """Whatever runs still."""
        self._tmux("kill-server")

    def _tmux(self, *arguments: str, given: str | None = None) -> str:
        command = ["tmux", "-u", "-S", str(self._socket), "-f", os.devnull, *arguments]
        ran = subprocess.run(
            command, input=given, env=self._environment, capture_output=True, text=True, check=True
        )
        return ran.stdout


@contextmanager
def python_in_terminal(*arguments: str, **environment: str) -> Iterator[Terminal]:
    """Python with these arguments, in this environment besides. Skips where there is no tmux."""
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux, of Debian's package tmux")
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="tmux-") as folder:
        terminal = Terminal(Path(folder, "socket"), environment)
        terminal.start([sys.executable, *arguments])
        try:
            yield terminal
        finally:
            terminal.end()
