"""The process that workers are forked from: it has loaded what they need, and runs no threads.

A worker that died or had to be killed is so replaced in milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading

import msgspec
import torch

from ..engine.wire import Connection
from ..log_format import set_up_logging
from .messages import Answer, Job, WorkerReady, WorkerSettings
from .worker import Worker

#: The host has to import torch and the model's preprocessor before it forks its first worker.
_START_TIMEOUT_S = 120.0
_PR_SET_PDEATHSIG = 1
#: The server must answer, and the engine compute, while images pour in.
_NICENESS = 5


class WorkerDiedError(Exception):
    """A worker, or the host that was to fork one, has ended or hangs.

    hangs: it has not ended.
    """

    def __init__(self, message: str, hangs: bool = False) -> None:
        super().__init__(message)
        self.hangs = hangs


class WorkerHandle:
    """A worker as its owner sees it; used by one thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._connection: Connection[Answer] = Connection(sock, Answer)
        ready = self._receive(_START_TIMEOUT_S)
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
    """The host as its parent sees it; started again if it has died."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = msgspec.json.encode(settings).decode()
        self._lock = threading.Lock()
        self._stopped = False
        self._start()

    def fork(self) -> WorkerHandle:
        """A new worker. Raises WorkerDiedError if there is none to be had."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._pass_on(theirs)
        try:
            return WorkerHandle(ours)
        except WorkerDiedError:
            ours.close()
            raise

    def stop(self) -> None:
        """End the host and with it its workers."""
        with self._lock:
            self._stopped = True
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _pass_on(self, theirs: socket.socket) -> None:
        with self._lock:
            if self._stopped:
                raise WorkerDiedError("the server is shutting down")
            if self._process.poll() is not None:
                self._control.close()
                self._start()
            try:
                socket.send_fds(self._control, [b"f"], [theirs.fileno()])
            except OSError as error:
                raise WorkerDiedError(str(error)) from error

    def _start(self) -> None:
        self._control, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), self._settings]
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
        with theirs:
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], process_group=0, env=environment
            )


def main() -> None:
    """Entry of the host: its arguments are the control socket's descriptor and the settings."""
    set_up_logging()
    torch.set_num_threads(1)
    control = socket.socket(fileno=int(sys.argv[1]))
    worker = Worker(msgspec.json.decode(sys.argv[2], type=WorkerSettings))
    # Children are not waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while (descriptor := _next_descriptor(control)) is not None:
        if os.fork() == 0:
            control.close()
            _serve(worker, descriptor)
        os.close(descriptor)


def _next_descriptor(control: socket.socket) -> int | None:
    _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    return descriptors[0] if descriptors else None


def _serve(worker: Worker, descriptor: int) -> None:
    """In the child: work, and end without running what the host has registered for its end; at
    the host's end too, even in the midst of a job."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(_NICENESS)
    status = 1
    try:
        worker.run(Connection(socket.socket(fileno=descriptor), Job))
        status = 0
    except ConnectionError:
        status = 0  # its owner is gone
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
