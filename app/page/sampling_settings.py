"""How answers are drawn: settings that several tabs have, folded away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

_DEFAULT_MAX_TOKENS = 128


def sampling_settings(label: str = "Settings") -> list[Any]:
    """Components, whose values `sampling_of` reads, in the block that is open."""
    with gr.Accordion(label, open=False), gr.Row():
        return [
            gr.Slider(1, 1024, _DEFAULT_MAX_TOKENS, step=1, label="Most tokens"),
            gr.Slider(0, 2, 0, step=0.05, label="Temperature", info="0: the likeliest token"),
            gr.Slider(0.05, 1, 1, step=0.05, label="Top p"),
            gr.Number(None, label="Seed", info="empty: another one each time", precision=0),
        ]


def sampling_of(values: Sequence[Any]) -> dict[str, Any]:
    """Fields of a request, from the components' values."""
    max_tokens, temperature, top_p, seed = values
    fields = {"max_tokens": int(max_tokens), "temperature": temperature, "top_p": top_p}
    return fields if seed is None else {**fields, "seed": int(seed)}
