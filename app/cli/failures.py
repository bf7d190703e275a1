"""What a command that fails says, and its exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator

from ...core.protocol.config import ConfigError
from ...core.protocol.request_error import RequestError
from ...core.registry.registry import UnsupportedModelError

#: As shells have it for a program that Ctrl-C ended.
INTERRUPTED = 128 + signal.SIGINT
USERS_FAULT, FAILED = 2, 1

_REPORT = "with --debug it shows where; please report it"
#: What to do about an error of the operating system, and whose it is.
_ADVICE = {
    errno.ENOSPC: ("free some space and run it again", FAILED),
    errno.EDQUOT: ("free some space and run it again", FAILED),
    errno.EMFILE: ("raise the limit, such as by ulimit -n 4096", FAILED),
    errno.ENOMEM: ("free some memory and run it again", FAILED),
    errno.EACCES: ("change its permissions, or name another", USERS_FAULT),
    errno.EPERM: ("change its permissions, or name another", USERS_FAULT),
    errno.EROFS: ("name one that can be written", USERS_FAULT),
    errno.ENOENT: ("name one that is there", USERS_FAULT),
    errno.EISDIR: ("name a file", USERS_FAULT),
    errno.ENOTDIR: ("name a folder", USERS_FAULT),
}


def guarded(command: Callable[[], int], shows_traceback: bool) -> int:
    """Run a command and see that its output is written; returns its exit status: 130 after Ctrl-C,
    2 if the user can mend what is wrong, 1 for other failures. One line says what it is, after a
    traceback if one is wanted. A reader of the output that has enough, such as head, is no failure
    to tell of: status 1."""
    try:
        try:
            return command()
        finally:
            _flush()
    except KeyboardInterrupt as error:
        return _interrupted(error, shows_traceback)
    except Exception as error:  # noqa: BLE001 - a command may raise anything
        if _by_ctrl_c(error):
            return _interrupted(error, shows_traceback)
        if isinstance(error, BrokenPipeError) and _stdout_is_closed():
            _drop_stdout()
            return FAILED
        return _report(error, shows_traceback)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop_stdout()
        raise OSError(error.errno, error.strerror, "standard output") from error


def _report(error: Exception, shows_traceback: bool) -> int:
    if shows_traceback:
        traceback.print_exception(error)
    message, status = _explain(error)
    print(f"octavo: {_one_line(message)}", file=sys.stderr)
    return status


def _explain(error: Exception) -> tuple[str, int]:
    if isinstance(error, ConfigError | UnsupportedModelError | RequestError):
        return str(error), USERS_FAULT
    if isinstance(error, OSError) and error.errno is not None:
        return _explain_system(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory: {error}; take a smaller model or --kv-cache-memory", FAILED
    return f"{type(error).__name__}: {error} ({_REPORT})", FAILED


def _explain_system(error: OSError) -> tuple[str, int]:
    why = error.strerror or str(error)
    advice, status = _ADVICE.get(error.errno or 0, (_REPORT, FAILED))
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {why}; {advice}", status
    if status == USERS_FAULT:  # of a file that we can't name, so not theirs
        return f"{why} ({_REPORT})", FAILED
    return f"{why}; {advice}", status


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _interrupted(error: BaseException, shows_traceback: bool) -> int:
    # A second one ends the process at once, while its libraries put things away.
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if shows_traceback:
        traceback.print_exception(error)
    print("octavo: interrupted", file=sys.stderr)
    return INTERRUPTED


def _by_ctrl_c(error: Exception) -> bool:
    """Whether it came of an interruption: libraries wrap what ends their imports."""
    return any(isinstance(cause, KeyboardInterrupt) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _stdout_is_closed() -> bool:
    """Whether it is a pipe that nobody reads."""
    poll = select.poll()
    with contextlib.suppress(OSError, ValueError):
        poll.register(sys.stdout.fileno(), 0)
        return any(events & select.POLLERR for _, events in poll.poll(0))
    return True  # no file: already replaced


def _drop_stdout() -> None:
    """What is left in its buffer would fail again when Python flushes it at its end."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
