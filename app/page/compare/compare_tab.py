"""The tab "Compare": two prompts, two settings or two models on the same picture."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..frame.visits import VISITS
from ..parts.picture_drop import picture_drop, read_picture
from ..parts.picture_parts import text_part
from ..parts.sampling_settings import sampling_of, sampling_settings
from ..server.server_api import AnswerSoFar, ServerApi, ServerError
from .answer_html import CSS, SIDES, answers_html, difference_sentence
from .side_by_side import Column, side_by_side


@dataclass(frozen=True)
class _Question:
    """The components of a column that say what is asked."""

    model: Any
    prompt: Any
    system: Any
    settings: list[Any]

    def components(self) -> list[Any]:
        return [self.model, self.prompt, self.system, *self.settings]


def compare_tab(server: ServerApi) -> None:
    """Its components, within the tab that is open."""
    picture = picture_drop("Picture for both", 260)
    with gr.Row():
        left = _question(SIDES[0], "What is this?")
        right = _question(SIDES[1], "Describe this picture in one sentence.")
    with gr.Row(equal_height=True):
        copy = gr.Button("Same prompt for both", size="md", min_width=120)
        ask = gr.Button("Compare", variant="primary", size="md", min_width=120)
        stop = gr.Button("Stop", variant="stop", size="md", min_width=120, visible=False)
    said = gr.HTML()
    with gr.Row():
        shown = [_answer() for _ in SIDES]

    def running_is(state: bool) -> dict[Any, Any]:
        return {ask: gr.update(visible=not state), stop: gr.update(visible=state)}

    async def fill_in_models() -> list[Any]:
        choice = _model_choice(await _model_names(server))
        return [choice, choice]

    async def compare(
        request: gr.Request, path: str | None, *values: Any
    ) -> AsyncGenerator[dict[Any, Any]]:
        VISITS.keep(request.session_hash, [] if path is None else [path])
        half = len(values) // 2
        answers = [_ask(server, path, values[:half]), _ask(server, path, values[half:])]
        yield running_is(True) | {
            place: gr.update(value=html, visible=True)
            for place, html in zip(shown, answers_html([Column(), Column()]), strict=True)
        }
        async with aclosing(side_by_side(answers)) as growing:
            async for columns in growing:
                sentence = difference_sentence(columns)
                yield {
                    said: sentence,
                    **dict(zip(shown, answers_html(columns), strict=True)),
                }
        yield running_is(False)

    async def stopped() -> dict[Any, Any]:
        return running_is(False)

    gr.on(None, fill_in_models, None, [left.model, right.model], show_progress="hidden")
    running = gr.on(
        [ask.click, left.prompt.submit, right.prompt.submit],
        compare,
        [picture, *left.components(), *right.components()],
        [ask, stop, said, *shown],
        show_progress="hidden",
        concurrency_limit=None,
    )
    stop.click(stopped, None, [ask, stop], cancels=[running], show_progress="hidden")
    copy.click(
        None, [left.prompt, left.system], [right.prompt, right.system], js="(...given) => given"
    )


def _question(side: str, prompt: str) -> _Question:
    """A column of them. side: its name, as two of everything are on the page."""
    with gr.Column(min_width=280):
        return _Question(
            gr.Dropdown([], label=f"{side}: model", visible=False),
            gr.Textbox(prompt, label=f"{side}: prompt", lines=2, max_lines=8),
            gr.Textbox(label=f"{side}: system prompt", lines=1, max_lines=8),
            sampling_settings(f"{side}: settings"),
        )


def _answer() -> Any:
    with gr.Column(min_width=280):
        return gr.HTML(container=True, css_template=CSS, visible=False)


async def _model_names(server: ServerApi) -> list[str]:
    """Empty if the server can't be asked: what is wrong is said where an answer would be."""
    try:
        return [model["id"] for model in await server.models()]
    except ServerError:
        return []


def _model_choice(names: Sequence[str]) -> Any:
    """Shown if there is one."""
    return gr.update(choices=list(names), value=next(iter(names), None), visible=len(names) > 1)


async def _ask(
    server: ServerApi, path: str | None, values: Sequence[Any]
) -> AsyncGenerator[AnswerSoFar]:
    """values: of a _Question's components. Raises ServerError."""
    model, prompt, system, *settings = values
    content = [] if path is None else [await read_picture(path)]
    if prompt.strip():
        content.append(text_part(prompt))
    if not content:
        raise ServerError("there is nothing to ask: give a prompt, a picture, or both")
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if system.strip():
        messages.insert(0, {"role": "system", "content": system})
    fields = sampling_of(settings) | ({"model": model} if model else {})
    async with aclosing(server.ask(messages, fields)) as growing:
        async for answer in growing:
            yield answer
