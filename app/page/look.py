"""What the page looks like: fonts of the system, as nothing is fetched from elsewhere."""

from __future__ import annotations

import gradio as gr

CSS = """
.found .grid-container { grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); }
.found .grid-wrap { min-height: 0; overflow-y: auto; }
.found .thumbnail-lg { aspect-ratio: 1; }
"""
#: A book's two pages.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    '<path fill="#0d9488" d="M1 3l6 1v10l-6-1zM15 3l-6 1v10l6-1z"/></svg>'
)


def theme() -> gr.themes.Base:
    """For light and dark."""
    return gr.themes.Soft(
        primary_hue="teal",
        neutral_hue="slate",
        font=("ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )
