"""What the page looks like: fonts of the system, as nothing is fetched from elsewhere."""

from __future__ import annotations

import gradio as gr

CSS = ""
#: A book's two pages, within the document, so that no file is asked for.
HEAD = """<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' \
viewBox='0 0 16 16'%3E%3Cpath fill='%230d9488' d='M1 3l6 1v10l-6-1zM15 3l-6 1v10l6-1z'/%3E%3C/svg%3E">
"""


def theme() -> gr.themes.Base:
    """For light and dark."""
    return gr.themes.Soft(
        primary_hue="teal",
        neutral_hue="slate",
        font=("ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )
