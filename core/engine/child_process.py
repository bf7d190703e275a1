"""A child process that runs a model, as its parent holds it."""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from ..contracts import load_object
from .wire import Connection, Frame

Incoming = TypeVar("Incoming")


class Spawned:
    """A process that imports a module at once, and then runs its function `main` with a socket.

    It waits there for settings, so that it can be started before they are known.
    """

    def __init__(self, module: str) -> None:
        self.name = module.rpartition(".")[2]
        self.socket, theirs = socket.socketpair()
        # -P: a folder that happens to be the working one must not be a source of modules.
        command = [sys.executable, "-P", "-m", __name__, module, str(theirs.fileno())]
        # A group of its own, so that Ctrl-C reaches the parent alone, which then hangs up.
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], process_group=0)
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """End it, if nothing else has."""
        self.socket.close()
        self.process.kill()
        self.process.wait()


class ChildProcess(Generic[Incoming]):
    """A process that was spawned, and the two threads that talk to it.

    settings: the first message that it gets; not an argument, which other users could read, as
        it may hold a store's password. incoming: the messages that it sends.
    on_message and on_exit are called from the reading thread, on_exit last and once, with what
    is known of the end.
    """

    def __init__(
        self,
        child: Spawned,
        settings: object,
        incoming: type[Incoming] | Any,
        on_message: Callable[[Incoming], None],
        on_exit: Callable[[str], None],
    ) -> None:
        self._process = child.process
        self._connection: Connection[Incoming] = Connection(child.socket, incoming)
        self._outbox: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self.send(settings)
        self._on_message = on_message
        self._on_exit = on_exit
        name = f"octavo-{child.name}"
        threads = ((self._read, f"{name}-reader"), (self._write, f"{name}-writer"))
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True) for target, name in threads
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def send(self, message: object) -> None:
        """Hand a message to the child; it is lost if the child is dead. Raises OverflowError for
        an integer beyond 64 bits."""
        self._outbox.put(self._connection.encode(message))

    def stop(self) -> None:
        """End the child and wait for it."""
        self._outbox.put(None)
        self._connection.hang_up()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        try:
            while (frame := self._outbox.get()) is not None:
                self._connection.send(frame)
        except OSError:
            # No memory or no descriptor left, or the child is gone: the reader reports it.
            self._connection.hang_up()

    def _read(self) -> None:
        while (message := self._connection.receive()) is not None:
            self._on_message(message)
        self._connection.close()
        self._outbox.put(None)
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._on_exit(f"killed by signal {-status}" if status < 0 else f"exit status {status}")


def _main() -> None:
    """The child's entry: its arguments are a module and the socket's descriptor."""
    main = load_object(f"{sys.argv[1]}:main")
    main(socket.socket(fileno=int(sys.argv[2])))


if __name__ == "__main__":
    _main()
