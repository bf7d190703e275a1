"""A child process that runs a model, as its parent holds it."""

from __future__ import annotations

import logging
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from ...kernels.parent_death import TIE, tied_environment
from ..contracts.specs import load_object
from ..system.log_setup import as_argument, set_up_logging_as
from .heartbeat import Ping, Pong, StallWatch
from .process_group import group_ticks, kill_group, reap_group
from .wire import Connection, Frame

logger = logging.getLogger(__name__)

Incoming = TypeVar("Incoming")

#: What a child has to end by itself, as its last features are yet to be written to a store.
_PATIENCE_S = 5.0


class Spawned:
    """A process that imports a module at once, and then runs its function `main` with a socket.

    It waits there for settings, so that it can be started before they are known. It ends with the
    thread that spawned it, which should be the one that runs the event loop.
    """

    def __init__(self, module: str) -> None:
        self.name = module.rpartition(".")[2]
        self.socket, theirs = socket.socketpair()
        arguments = [module, str(theirs.fileno()), as_argument()]
        with theirs:
            self.process = subprocess.Popen(
                # -P: a folder that happens to be the working one must not be a source of modules.
                [*TIE, sys.executable, "-P", "-m", __name__, *arguments],
                pass_fds=[theirs.fileno()],
                # A group of its own, so that Ctrl-C reaches the parent alone, which then hangs up.
                process_group=0,
                env=tied_environment(),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def end(self) -> None:
        """End it, if nothing else has."""
        self.socket.close()
        if self.process.returncode is None:
            kill_group(self.process.pid)
        self.process.wait()


class ChildProcess(Generic[Incoming]):
    """A process that was spawned, and the threads that talk to it and watch it.

    settings: the first message that it gets; not an argument, which other users could read, as
        it may hold a store's password. incoming: the messages that it sends, beside the Pong that
        it answers a Ping with.
    on_message and on_exit are called from the reading thread, on_exit last and once, with what
    is known of the end.
    stall_timeout: see StallWatch; a child that hangs is killed.
    """

    def __init__(
        self,
        child: Spawned,
        settings: object,
        incoming: type[Incoming] | Any,
        on_message: Callable[[Incoming], None],
        on_exit: Callable[[str], None],
        stall_timeout: float,
    ) -> None:
        self._process = child.process
        self._connection: Connection[Incoming | Pong] = Connection(child.socket, incoming | Pong)
        self._outbox: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        # Encoded here, as only one thread may encode.
        self._ping = self._connection.encode(Ping())
        self.send(settings)
        self._on_message = on_message
        self._on_exit = on_exit
        self._watch = StallWatch(stall_timeout, lambda: group_ticks(child.process.pid))
        self._has_loaded = self._heard = False
        self._ended = threading.Event()
        self._stall = ""
        name = f"octavo-{child.name}"
        targets = {"reader": self._read, "writer": self._write, "watch": self._watch_for_stalls}
        self._threads = [
            threading.Thread(target=target, name=f"{name}-{role}", daemon=True)
            for role, target in targets.items()
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
        if not self._has_loaded and not self._ended.is_set():
            # It has nothing to put away, and would not hear us yet.
            kill_group(self._process.pid)
        self._outbox.put(None)
        self._connection.hang_up()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        try:
            while (frame := self._outbox.get()) is not None:
                self._connection.send(frame)
        except OSError:
            # No memory left, or the child is gone: the reader reports it.
            self._connection.hang_up()

    def _read(self) -> None:
        while (message := self._connection.receive()) is not None:
            self._has_loaded = self._heard = True
            if not isinstance(message, Pong):
                self._on_message(message)
        self._ended.set()
        self._connection.close()
        self._outbox.put(None)
        how = reap_group(self._process, _PATIENCE_S)
        self._on_exit(self._stall or how)

    def _watch_for_stalls(self) -> None:
        while not self._ended.wait(self._watch.interval):
            if self._heard:
                self._heard = False
                self._watch.heard()
                continue
            reason = self._watch.look(lambda: self._outbox.put(self._ping))
            if reason is not None and not self._ended.is_set():
                logger.error("process %d hangs: %s", self.pid, reason)
                self._stall = reason
                kill_group(self.pid)
                return


def _main() -> None:
    """The child's entry: its arguments are a module, the socket's descriptor, and how its parent
    logs."""
    set_up_logging_as(sys.argv[3])
    main = load_object(f"{sys.argv[1]}:main")
    main(socket.socket(fileno=int(sys.argv[2])))


if __name__ == "__main__":
    _main()
