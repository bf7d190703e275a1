"""A conversation as Gradio's Chatbot shows it."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from ..parts.model_text import as_markdown
from ..parts.sentence import sentence
from ..parts.timing_bar import timing_bar
from .conversation import Conversation, Turn


def bubbles(conversation: Conversation) -> list[dict[str, Any]]:
    """Messages: of each turn the question, and the answer as far as it has come."""
    shown = []
    for turn in conversation.turns:
        shown.append({"role": "user", "content": _question(turn)})
        answer = _answer(turn)
        if answer:
            shown.append({"role": "assistant", "content": answer})
    return shown


def _question(turn: Turn) -> list[Any]:
    count = len(turn.pictures)
    pictures = [
        {"path": path, "alt_text": f"Picture {n} of {count}" if count > 1 else "Picture"}
        for n, path in enumerate(turn.pictures, 1)
    ]
    return [*pictures, _text(turn.question)]


def _answer(turn: Turn) -> list[Any]:
    below = _notes(turn) + timing_bar(turn.answer)
    parts: list[Any] = [_thoughts(turn)] if turn.answer.thoughts else []
    parts += [_text(turn.answer.text)] if turn.answer.text else []
    return [*parts, gr.HTML(below, render=False, padding=False)] if below else parts


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": as_markdown(text)}


def _thoughts(turn: Turn) -> gr.HTML:
    """Folded once there is an answer."""
    is_open = "" if turn.answer.text else " open"
    text = escape(turn.answer.thoughts)
    folded = (
        f'<details class="octavo-thoughts"{is_open}><summary>Thoughts</summary>{text}</details>'
    )
    return gr.HTML(folded, render=False, padding=False)


def _notes(turn: Turn) -> str:
    if turn.fault:
        return f'<p class="octavo-fault" role="alert">{escape(sentence(turn.fault))}</p>'
    if turn.stopped:
        return '<p class="octavo-note">Stopped.</p>'
    if turn.answer.finish_reason == "length":
        return (
            '<p class="octavo-note">Cut off: it is as long as may be. The settings say how many '
            "tokens that is.</p>"
        )
    if turn.answer.finish_reason and not turn.answer.text:
        return '<p class="octavo-note">The model says nothing.</p>'
    return ""
