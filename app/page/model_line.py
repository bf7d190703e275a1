"""Which model the server serves, or why it can't be asked yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from html import escape

import gradio as gr

from .server_api import ServerApi, ServerError

_PAUSE_S = 1.0


def model_line(server: ServerApi) -> None:
    """A line of the block that is open. It follows the server until its model is loaded."""
    line = gr.HTML(_html("…"))

    async def follow() -> AsyncIterator[str]:
        told = ""
        while True:
            try:
                names = [str(model["id"]) for model in await server.models()]
            except ServerError as error:
                if str(error) != told:
                    told = str(error)
                    yield _html(f"{told[:1].upper()}{told[1:]}.")
                await asyncio.sleep(_PAUSE_S)
            else:
                yield _html(", ".join(names))
                return

    # Each visitor's own waits for nobody's.
    gr.on(None, follow, None, line, show_progress="hidden", concurrency_limit=None)


def _html(text: str) -> str:
    return f'<p role="status">{escape(text)}</p>'
