"""The tab "Ask": a conversation about pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import gradio as gr

from ..frame.visits import VISITS
from ..parts.sampling_settings import sampling_controls, sampling_of
from ..server.server_api import ServerApi
from .bubbles import bubbles
from .camera import camera_picture
from .conversation import Conversation, Turn
from .examples import EXAMPLES, FOLDER

_EMPTY = "### Ask about a picture\nDrop one or several below, or begin with one of these."
_KEYS = (
    "<p><kbd>Enter</kbd> sends, <kbd>Shift</kbd>+<kbd>Enter</kbd> begins a new "
    "line, <kbd>Esc</kbd> stops an answer.</p>"
)
_ESCAPE_STOPS = """
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelector("#octavo-question .stop-button")?.click();
});
"""
#: Of events: nobody waits for another visitor, and no overlay hides what is there.
_QUIET = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
_UNCHANGED = (gr.skip(), gr.skip(), gr.skip())


def ask_tab(server: ServerApi) -> None:
    """Its components, within the tab that is open."""
    gr.set_static_paths(FOLDER)
    # An object that is copied for each visitor: a class would be called again when the page has
    # loaded, after a quick visitor's first question.
    conversation = gr.State(Conversation())
    chat = gr.Chatbot(
        label="Conversation",
        show_label=False,
        height="58vh",
        min_height=320,
        buttons=["copy"],
        placeholder=_EMPTY,
        examples=[_card(n) for n in range(len(EXAMPLES))],
        latex_delimiters=[],
        allow_tags=False,
        allow_file_downloads=False,
        elem_id="octavo-chat",
    )
    question = gr.MultimodalTextbox(
        label="Question",
        show_label=False,
        placeholder="Ask about a picture",
        file_count="multiple",
        sources=["upload"],
        max_lines=8,
        autofocus=True,
        elem_id="octavo-question",
    )
    with gr.Row(elem_classes="octavo-turns"):
        gr.HTML(_KEYS, js_on_load=_ESCAPE_STOPS, elem_classes="octavo-keys")
        again = gr.Button("Regenerate", interactive=False, size="sm", scale=0, min_width=150)
        clear = gr.Button("New conversation", interactive=False, size="sm", scale=0, min_width=150)
    with gr.Accordion("Camera", open=False):
        camera = camera_picture()
    with gr.Accordion("Settings", open=False):
        system = gr.Textbox(
            label="System prompt",
            value="",
            lines=2,
            info="what the model is told before the conversation",
        )
        sampling = sampling_controls()
    settings = [system, *sampling]
    shown = [chat, question, again, clear]

    async def answer(
        talk: Conversation, turn: Turn, session: str | None, values: Sequence[Any], **box: Any
    ) -> AsyncIterator[list[Any]]:
        system_prompt, *drawn = values
        answers = talk.go_on(server, turn, system_prompt, sampling_of(drawn))
        VISITS.keep(session, turn.pictures)
        VISITS.at_end(session, talk.stop)
        async with aclosing(answers) as going_on:
            yield [bubbles(talk), *_controls(talk, **box)]
            async for _ in going_on:
                yield [bubbles(talk), *(_UNCHANGED if talk.answering else _controls(talk))]

    async def send(
        talk: Conversation, asked: dict[str, Any] | None, request: gr.Request, *values: Any
    ) -> AsyncIterator[list[Any]]:
        turn = _turn_of(asked)
        if turn is not None and _is_free(talk):
            async for update in answer(talk, turn, request.session_hash, values, value=None):
                yield update

    async def begin(
        talk: Conversation, chosen: gr.SelectData, request: gr.Request, *values: Any
    ) -> AsyncIterator[list[Any]]:
        # By its number: what else a browser sends of it may name any file.
        example = EXAMPLES[chosen.index]
        if _is_free(talk):
            turn = Turn(example.question, example.paths)
            async for update in answer(talk, turn, request.session_hash, values):
                yield update

    async def regenerate(
        talk: Conversation, request: gr.Request, *values: Any
    ) -> AsyncIterator[list[Any]]:
        if talk.turns and _is_free(talk):
            last = talk.turns[-1]
            turn = Turn(last.question, last.pictures, again=True)
            async for update in answer(talk, turn, request.session_hash, values):
                yield update

    async def forget(talk: Conversation, request: gr.Request) -> list[Any]:
        VISITS.drop(request.session_hash, talk.pictures)
        talk.clear()
        return [[], *_controls(talk)]

    async def stop(talk: Conversation) -> None:
        talk.stop()

    async def add(taken: str | None, asked: dict[str, Any] | None) -> list[Any]:
        if taken is None:
            return [gr.skip(), gr.skip()]
        asked = asked or {"text": "", "files": []}
        return [{"text": asked["text"], "files": [*asked["files"], taken]}, None]

    question.submit(send, [conversation, question, *settings], shown, **_QUIET)
    question.stop(stop, conversation, None, queue=False, **_QUIET)
    chat.example_select(begin, [conversation, *settings], shown, **_QUIET)
    again.click(regenerate, [conversation, *settings], shown, **_QUIET)
    clear.click(forget, conversation, shown, **_QUIET)
    camera.input(add, [camera, question], [question, camera], **_QUIET)


def _card(number: int) -> dict[str, Any]:
    example = EXAMPLES[number]
    return {"text": example.question, "icon": example.paths[-1]}


def _turn_of(asked: dict[str, Any] | None) -> Turn | None:
    """What the question's box holds; None if nothing."""
    if asked is None or not (asked["text"].strip() or asked["files"]):
        return None
    pictures = asked["files"]
    wish = f"Describe the picture{'s' if len(pictures) > 1 else ''}."
    return Turn(asked["text"].strip() or wish, pictures)


def _is_free(talk: Conversation) -> bool:
    if talk.answering:
        gr.Info("An answer is under way. Stop it first, or wait.")
    return not talk.answering


def _controls(talk: Conversation, **box: Any) -> list[Any]:
    """Updates of all that is shown but the chat."""
    busy = talk.answering
    return [
        gr.MultimodalTextbox(submit_btn=not busy, stop_btn=busy, **box),
        gr.Button(interactive=bool(talk.turns) and not busy),
        gr.Button(interactive=bool(talk.turns)),
    ]
