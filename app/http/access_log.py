"""Which requests a server logs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .pages.page_path import is_of_page

#: What probes and Prometheus ask for every few seconds, for as long as the server runs.
_POLLED = ("/health", "/health/live", "/health/ready", "/ping", "/metrics")


def _is_for_an_answer(record: logging.LogRecord) -> bool:
    """The record's arguments are uvicorn's: client, method, path with query, version, status."""
    if not isinstance(record.args, tuple):
        return True
    path = str(record.args[2]).partition("?")[0]
    # A visit of the page is dozens of files and events.
    return path not in _POLLED and not is_of_page(path)


_FILTERS: dict[str, Callable[[logging.LogRecord], bool]] = {
    "answers": _is_for_an_answer,
    "all": lambda record: True,
    "none": lambda record: False,
}
#: What may be logged; the first by default.
ACCESS_LOGS = tuple(_FILTERS)


@contextmanager
def access_log(which: str) -> Iterator[None]:
    """Let uvicorn log these requests alone. which: of ACCESS_LOGS."""
    logger = logging.getLogger("uvicorn.access")
    logger.addFilter(_FILTERS[which])
    try:
        yield
    finally:
        logger.removeFilter(_FILTERS[which])
