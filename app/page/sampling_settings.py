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
        seed = gr.Number(None, label="Seed", info="empty: another one each time", precision=0)
    return [length, temperature, top_p, top_k, seed]


def sampling_of(values: Sequence[Any]) -> dict[str, Any]:
    """Fields of a request, from the components' values."""
    max_tokens, temperature, top_p, top_k, seed = values
    fields = {"max_tokens": int(max_tokens), "temperature": temperature, "top_p": top_p}
    # Not every server knows it.
    if top_k:
        fields["top_k"] = int(top_k)
    return fields if seed is None else {**fields, "seed": int(seed)}
