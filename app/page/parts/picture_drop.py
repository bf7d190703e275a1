"""A place for one picture: dropped, pasted or taken by a camera."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr

from ..server.server_api import ServerError
from .picture_parts import picture_part


def picture_drop(label: str, height: int) -> Any:
    """A component whose value is the path of the file. This process never decodes it: the server
    does, by its own limits, and says what is wrong with it."""
    made = gr.Image(type="filepath", label=label, height=height)
    # Gradio's own method opens the file, and has no word for one that is broken. (A class made of
    # gr.Image would have Gradio write a .pyi file beside this one.)
    made.preprocess = _path
    return made


def _path(payload: Any) -> str | None:
    return None if payload is None else payload.path


async def read_picture(path: str) -> dict[str, Any]:
    """A dropped file as a part. Raises ServerError if it is too large, or gone, as files are after
    an hour."""
    try:
        return await asyncio.to_thread(picture_part, path)
    except OSError as error:
        raise ServerError("the picture is no longer kept: choose it again") from error
