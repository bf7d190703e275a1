"""What an answer took, as a small bar."""

from __future__ import annotations

from .server_api import AnswerSoFar


def timing_bar(answer: AnswerSoFar) -> str:
    """HTML; "" if the server told nothing."""
    return ""
