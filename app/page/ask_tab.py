"""The tab "Ask"."""

from __future__ import annotations

import gradio as gr

from .server_api import ServerApi


def ask_tab(server: ServerApi) -> None:
    """Its components, within the tab that is open."""
    gr.Markdown("")
