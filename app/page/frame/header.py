"""The page's first line: whose page it is, which model answers, and whether it does."""

from __future__ import annotations

from html import escape

from ...http.pages.icon import ICON
from ..parts.sentence import sentence
from ..server.server_status import Condition, ServerStatus

_WORDS = {
    Condition.READY: "ready",
    Condition.LOADING: "loading",
    Condition.UNREACHABLE: "unreachable",
    Condition.REFUSING: "not available",
}


def header(status: ServerStatus | None) -> str:
    """HTML. None: nobody has looked yet."""
    model = says = ""
    word, kind = "connecting", "loading"
    if status is not None:
        model, word, kind = status.model, _WORDS[status.condition], status.condition
        says = sentence(status.says)
    return (
        '<header class="octavo-header">'
        f'<span class="octavo-name"><span aria-hidden="true">{ICON}</span><h1>Octavo</h1></span>'
        f'<span class="octavo-model">{escape(model)}</span>'
        f'<span class="octavo-state octavo-{kind}" role="status">{word}</span>'
        f"{f'<p>{escape(says)}</p>' if says else ''}"
        "</header>"
    )
