"""What a test logs, as a server writes it in JSON."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from octavo.core.system.log_format import JsonFormatter

Lines = Callable[[], list[dict[str, Any]]]


@contextmanager
def json_log() -> Iterator[Lines]:
    """Gives what returns the lines so far."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    try:
        yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    finally:
        logging.getLogger().removeHandler(handler)
