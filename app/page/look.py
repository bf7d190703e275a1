"""What the page looks like: fonts of the system, as nothing is fetched from elsewhere."""

from __future__ import annotations

import gradio as gr

from .engine.engine_css import ENGINE_CSS

CSS = ENGINE_CSS


def theme() -> gr.themes.Base:
    """For light and dark."""
    return gr.themes.Soft(
        primary_hue="teal",
        neutral_hue="slate",
        font=("ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )
