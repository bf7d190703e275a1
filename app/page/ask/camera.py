"""A picture from the visitor's camera."""

from __future__ import annotations

from typing import Any

import gradio as gr


def camera_picture() -> Any:
    """A component whose value is the file's path."""
    camera = gr.Image(sources=["webcam"], type="filepath", label="Camera", buttons=[])
    # Gradio's own would open the picture, and a class of ours would have it write a file beside
    # this one.
    camera.preprocess = _path
    return camera


def _path(payload: Any) -> str | None:
    return None if payload is None else payload.path
