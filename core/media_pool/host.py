"""The process that workers are forked from: it has loaded what they need, and runs no threads.

A worker that died or had to be killed is so replaced in milliseconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future

import msgspec

from ...kernels.parent_death import TIE, die_with_parent, tied_environment
from ..process.heartbeat import StallWatch
from ..process.process_group import kill_group, process_ticks, reap_group
from ..process.restart_pause import RestartPause
from ..process.wire import Connection
from ..protocol.config import ConfigError
from ..system.log_setup import as_argument, set_up_logging_as
from .jobs import Answer, Job, WorkerReady, WorkerSettings
from .worker import Worker

logger = logging.getLogger(__name__)

#: A worker is forked in milliseconds by a host that has loaded.
_FORK_TIMEOUT_S = 60.0
#: On the socket between the two: the host has loaded and is there; it is to fork a worker.
_HERE, _FORK = b"h", b"f"
#: Workers are forked, and run side by side: the libraries of their host start no threads.
_SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
#: The server must answer, and the engine compute, while images pour in.
_NICENESS = 5


class WorkerDiedError(Exception):
    """A worker, or the host that was to fork one, has ended or hangs.

    hangs: it has not ended. retry_after: seconds until there may be one again, if it is known.
    """

    def __init__(self, message: str, hangs: bool = False, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.hangs = hangs
        self.retry_after = retry_after


class WorkerHandle:
    """A worker as its owner sees it; used by one thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._connection: Connection[Answer] = Connection(sock, Answer, forwards=True)
        ready = self._receive(_FORK_TIMEOUT_S)
        assert isinstance(ready, WorkerReady)
        self.pid = ready.pid

    def ask(self, job: Job, timeout: float) -> Answer:
        """A job's answer. Raises WorkerDiedError, also after `timeout` seconds."""
        try:
            self._socket.settimeout(timeout)
            self._connection.send(self._connection.encode(job))
        except OSError as error:
            raise WorkerDiedError(str(error)) from error
        return self._receive(timeout)

    def kill(self) -> None:
        """End a worker that hangs. One that ended by itself must not be killed: its number may be
        another process's by now."""
        self.close()
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it was dead already

    def close(self) -> None:
        """Let the worker end by itself."""
        self._connection.close()

    def _receive(self, timeout: float) -> Answer:
        self._socket.settimeout(timeout)
        try:
            answer = self._connection.receive()
        except TimeoutError as error:
            raise WorkerDiedError(f"no answer within {timeout:.0f} s", hangs=True) from error
        if answer is None:
            raise WorkerDiedError("the process ended")
        return answer


class WorkerHost:
    """The host as its parent sees it, watched by a thread that starts another when it has died,
    or hangs: see StallWatch. The thread spawns it, too, as the host ends with that thread.

    first_start: done once pictures can be read, or a ConfigError if the first host ended.
    """

    def __init__(self, settings: WorkerSettings, stall_timeout: float) -> None:
        self._settings = msgspec.json.encode(settings).decode()
        self._stall_timeout = stall_timeout
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._pause = RestartPause()
        self._control: socket.socket | None = None
        self._is_ready = False
        self.first_start: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="octavo-media-host", daemon=True)
        self._thread.start()

    def fork(self) -> WorkerHandle:
        """A new worker; the first ones wait for the host. Raises WorkerDiedError if there is none
        to be had."""
        with contextlib.suppress(ConfigError):
            self.first_start.result()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._pass_on(theirs)
            return WorkerHandle(ours)
        except WorkerDiedError as error:
            ours.close()
            if error.retry_after is None:
                error.retry_after = self._pause.retry_after
            raise

    def stop(self) -> None:
        """End the host and with it its workers."""
        with self._lock:
            self._stopped.set()
            if self._control is not None:
                kill_group(self._process.pid)
        self._thread.join()

    def _pass_on(self, theirs: socket.socket) -> None:
        with self._lock:
            if self._stopped.is_set():
                raise WorkerDiedError("the server is shutting down")
            if self._control is None or not self._is_ready:
                raise WorkerDiedError("their process is being started again")
            try:
                socket.send_fds(self._control, [_FORK], [theirs.fileno()])
            except OSError as error:
                raise WorkerDiedError(f"their process has just ended ({error})") from error

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            control = self._start()
            if control is None:
                break
            with control:
                reason = self._watch(control)
                with self._lock:
                    # Not waited for before, as `stop` kills what this tells of.
                    self._control, self._is_ready = None, False
                    pause = self._pause.after_death()
                    how = reap_group(self._process, 0.0)
            if not self._stopped.is_set():
                self._tell_of_death(reason or how)
        if not self.first_start.done():
            self.first_start.set_exception(ConfigError("the server is shutting down"))

    def _tell_of_death(self, reason: str) -> None:
        message = f"the process that reads images died ({reason})"
        logger.error("%s; starting another", message)
        if not self.first_start.done():
            self.first_start.set_exception(ConfigError(f"{message} while it started"))

    def _start(self) -> socket.socket | None:
        """The socket to a new host; None if there is to be none."""
        with self._lock:
            if self._stopped.is_set():
                return None
            self._pause.started()
            self._control, theirs = socket.socketpair()
            arguments = [str(theirs.fileno()), self._settings, as_argument()]
            with theirs:
                self._process = subprocess.Popen(
                    [*TIE, sys.executable, "-P", "-m", __name__, *arguments],
                    pass_fds=[theirs.fileno()],
                    process_group=0,
                    env={**tied_environment(), **_SINGLE_THREADED},
                )
            return self._control

    def _watch(self, control: socket.socket) -> str:
        """Return when the host has ended, or hangs: why, if it does."""
        watch = StallWatch(self._stall_timeout, lambda: process_ticks(self._process.pid))
        poll = select.poll()
        poll.register(control, select.POLLIN)
        while True:
            if not poll.poll(watch.interval * 1000):
                reason = watch.look(lambda: self._ping(control))
                if reason is not None:
                    return reason
                continue
            with contextlib.suppress(ConnectionError):
                if control.recv(64):
                    watch.heard()
                    self._ready()
                    continue
            return ""

    def _ready(self) -> None:
        with self._lock:
            if not self._is_ready:
                self._pause.loaded()
            self._is_ready = True
        if not self.first_start.done():
            self.first_start.set_result(None)

    def _ping(self, control: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it has just ended
            control.send(_HERE)


def main() -> None:
    """Entry of the host: its arguments are the control socket's descriptor, the settings and how
    its parent logs."""
    set_up_logging_as(sys.argv[3])
    control = socket.socket(fileno=int(sys.argv[1]))
    worker = Worker(msgspec.json.decode(sys.argv[2], type=WorkerSettings))
    # Children are not waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control.send(_HERE)
    host = os.getpid()
    while (asked := _next_message(control)) is not None:
        message, descriptors = asked
        if message == _HERE:
            control.send(_HERE)
            continue
        with socket.socket(fileno=descriptors[0]) as owner:
            connection: Connection[Job] = Connection(owner, Job)
            if (pid := os.fork()) == 0:
                control.close()
                _serve(worker, connection, host)
            # Not the worker tells of itself, as one that is stopped at once could not be killed.
            with contextlib.suppress(OSError):
                connection.send(connection.encode(WorkerReady(pid)))


def _next_message(control: socket.socket) -> tuple[bytes, list[int]] | None:
    """With its descriptors, if there are any; None if the parent is gone."""
    with contextlib.suppress(ConnectionError):
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        return (message, descriptors) if message else None
    return None


def _serve(worker: Worker, connection: Connection[Job], host: int) -> None:
    """In the child: work, and end without running what the host has registered for its end; at
    the host's end too, even in the midst of a job."""
    die_with_parent(host)
    os.nice(_NICENESS)
    status = 1
    try:
        worker.run(connection)
        status = 0
    except ConnectionError:
        status = 0  # its owner is gone
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
