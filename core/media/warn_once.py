"""Warnings that are worth saying once, not once for every image."""

from __future__ import annotations

import logging
from functools import cache

logger = logging.getLogger(__name__)


@cache
def warn_once(message: str) -> None:
    """Log a warning, the first time in this process. message: one of a few fixed texts."""
    logger.warning(message)
