"""Lines of the log about who was refused, with nothing of keys, prompts and images."""

from __future__ import annotations

import logging

from starlette.requests import Request

from .background import is_background

logger = logging.getLogger(__name__)


def log_refusal(http: Request, status: int, why: str) -> None:
    """why: in words, with the key's name if there is one."""
    if is_background(http):
        host = "a batch"
    else:
        host = http.client.host if http.client else "an unknown address"
    logger.info("refused %s %s from %s with %d: %s", http.method, http.url.path, host, status, why)
