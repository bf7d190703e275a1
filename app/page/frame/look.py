"""What the page looks like: fonts of the system, as nothing is fetched from elsewhere."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

#: Of the frame and of each tab, beside its modules.
CSS = "\n".join(path.read_text() for path in sorted(Path(__file__).parents[1].rglob("*.css")))


def theme() -> gr.themes.Base:
    """For light and dark."""
    return gr.themes.Soft(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        font=("ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=("ui-monospace", "Consolas", "monospace"),
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_500",
        block_shadow="none",
        block_shadow_dark="none",
        block_border_width="1px",
        block_border_width_dark="1px",
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_padding="0",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_label_background_fill="*neutral_100",
        block_label_background_fill_dark="*neutral_800",
        block_label_text_color="*body_text_color_subdued",
        block_label_text_color_dark="*body_text_color_subdued",
        input_shadow="none",
        input_shadow_dark="none",
        input_border_width="1px",
        input_border_width_dark="1px",
        input_border_color="*neutral_200",
        input_border_color_dark="*neutral_600",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_border_color="transparent",
        button_primary_border_color_dark="transparent",
        button_primary_border_color_hover="transparent",
        button_primary_border_color_hover_dark="transparent",
        button_primary_shadow="none",
        button_primary_shadow_hover="none",
        button_secondary_shadow_hover="none",
        button_secondary_shadow="none",
        button_secondary_background_fill="*neutral_100",
        button_secondary_background_fill_hover="*neutral_200",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_text_color_dark="*neutral_200",
    )
