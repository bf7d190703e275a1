"""All of the page."""

from __future__ import annotations

import gradio as gr

from .ask_tab import ask_tab
from .caption_many_tab import caption_many_tab
from .compare_tab import compare_tab
from .engine_tab import engine_tab
from .model_line import model_line
from .search_tab import search_tab
from .server_api import ServerApi

_TABS = (
    ("Ask", ask_tab),
    ("Caption many", caption_many_tab),
    ("Compare", compare_tab),
    ("Search", search_tab),
    ("Engine", engine_tab),
)
#: Seconds, of files that were dropped on the page and whose visitor has not said goodbye.
_FILES_LIVE = 3600
_LOOK_EVERY = 300


def build_page(server: ServerApi) -> gr.Blocks:
    """To be mounted. Files that are dropped on it are in Gradio's cache until a visit ends."""
    with gr.Blocks(
        title="Octavo", analytics_enabled=False, delete_cache=(_LOOK_EVERY, _FILES_LIVE)
    ) as page:
        gr.Markdown("# Octavo")
        model_line(server)
        for label, make in _TABS:
            with gr.Tab(label):
                make(server)
    return page
