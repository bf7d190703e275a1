"""Where a process logs, what, and in which format; and that its children do as it does."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from dataclasses import asdict, dataclass
from types import TracebackType

from .log_format import TEXT, JsonFormatter, LineFormatter

LEVELS = ("debug", "info", "warning", "error", "critical")
FORMATS = ("text", "json")

logger = logging.getLogger(__name__)

#: Loggers of libraries, by the first part of their names. What they say below a warning is about
#: themselves: each call of an HTTP client, each chunk of a file. "py" is that of Python's
#: warnings; to "root" those write that know of no other.
_LIBRARIES = (
    *("PIL", "asyncio", "filelock", "httpcore", "httpx", "huggingface_hub", "matplotlib"),
    *("open_clip", "py", "root", "timm", "torch", "transformers", "urllib3"),
)
#: Those that would write to stderr by themselves, in a format of their own.
_WITH_HANDLERS = ("huggingface_hub", "torch", "transformers")


@dataclass(frozen=True)
class LogSetup:
    """level: the least that is logged. format: see `log_format`. library_level: the least of what
    libraries say."""

    level: str = "info"
    format: str = "text"
    library_level: str = "warning"


_present = LogSetup()


def set_up_logging(setup: LogSetup) -> None:
    """Log to stderr, Python's warnings and what nobody catches too; where there is a log already,
    as in a program that embeds this one, it stays as it is."""
    global _present
    _present = setup
    if logging.root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if setup.format == "json" else LineFormatter(TEXT))
    # Of the handler, as libraries set levels of their loggers themselves.
    handler.setLevel(setup.level.upper())
    handler.addFilter(_LibraryFilter(setup.library_level))
    logging.basicConfig(level=setup.level.upper(), handlers=[handler])
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_end_of_thread
    if setup.format == "json" or not sys.stderr.isatty():
        # Bars of progress are no lines of a log. The library reads it when it is imported, here
        # or in a child.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    _take_over(_WITH_HANDLERS)


def logs_json() -> bool:
    """Whether each line on stderr is to be an object."""
    return _present.format == "json"


def as_argument() -> str:
    """How this process logs, for the command line of a child."""
    return json.dumps(asdict(_present))


def set_up_logging_as(argument: str) -> None:
    """In a child: log as the parent does, which passed `as_argument`."""
    set_up_logging(LogSetup(**json.loads(argument)))


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        logger.critical("the process ends", exc_info=(kind, error, traceback))


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    error = ended.exc_value or ended.exc_type()
    name = ended.thread.name if ended.thread is not None else "unknown"
    logger.error("the thread %s ends", name, exc_info=error)


class _LibraryFilter(logging.Filter):
    def __init__(self, level: str) -> None:
        super().__init__()
        self._level = logging.getLevelNamesMapping()[level.upper()]

    def filter(self, record: logging.LogRecord) -> bool:
        is_library = record.name.partition(".")[0] in _LIBRARIES
        return record.levelno >= self._level or not is_library


class _HeldLogger(logging.Logger):
    """One that passes all on to the root, whatever its library does when it is imported."""

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802
        """It has none."""

    @property
    def propagate(self) -> bool:
        """Always."""
        return True

    @propagate.setter
    def propagate(self, value: bool) -> None:
        """It stays."""


def _take_over(names: tuple[str, ...]) -> None:
    """Make the loggers of libraries before they do, so that none need be imported for it."""
    usual = logging.getLoggerClass()
    logging.setLoggerClass(_HeldLogger)
    try:
        for name in names:
            logging.getLogger(name)
    finally:
        logging.setLoggerClass(usual)
