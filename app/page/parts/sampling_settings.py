"""How answers are drawn: settings that several tabs have, folded away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

_DEFAULT_MAX_TOKENS = 128


def sampling_settings(label: str = "Settings") -> list[Any]:
    """Components, whose values `sampling_of` reads, in the block that is open."""
    with gr.Accordion(label, open=False):
        return sampling_controls()


def sampling_controls() -> list[Any]:
    """The same, not folded away."""
    with gr.Row():
        length = gr.Slider(
            1, 1024, _DEFAULT_MAX_TOKENS, step=1, label="Most tokens", info="an answer's length"
        )
        temperature = gr.Slider(
            0, 2, 0, step=0.05, label="Temperature", info="0: always the likeliest token"
        )
    with gr.Row():
        top_p = gr.Slider(
            0.05, 1, 1, step=0.05, label="Top p", info="from the likeliest so much in all"
        )
        top_k = gr.Number(
            0, label="Top k", info="from so many; 0: from all", precision=0, minimum=0
        )
        # Gradio's field for numbers would show an empty one as 0.
        seed = gr.Textbox("", label="Seed", info="empty: another one each time", max_lines=1)
    return [length, temperature, top_p, top_k, seed]


def sampling_of(values: Sequence[Any]) -> dict[str, Any]:
    """Fields of a request, from the components' values. Raises gr.Error, which Gradio shows."""
    max_tokens, temperature, top_p, top_k, seed = values
    fields: dict[str, Any] = {"temperature": temperature, "top_p": top_p}
    if max_tokens:
        fields["max_tokens"] = int(max_tokens)
    # Not every server knows it.
    if top_k:
        fields["top_k"] = int(top_k)
    if seed and seed.strip():
        fields["seed"] = _whole_number(seed)
    return fields


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise gr.Error(
            "The seed is no whole number; leave it empty for another one each time.",
            print_exception=False,
        ) from None
