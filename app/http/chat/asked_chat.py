"""From the body of a chat to what the engine is asked, and to how its answers are read."""

from __future__ import annotations

from typing import NamedTuple

from starlette.requests import Request

from ...serving.chat_messages import read_messages
from ...serving.chat_pipeline import Chat
from ...serving.server_state import ServerState
from ..client_identity import caller_of
from ..request_ids import answer_id
from .asked_answers import AskedAnswers
from .chat_request import ChatCompletionRequest


class AskedChat(NamedTuple):
    """What is asked, and what its answers are taken apart into."""

    chat: Chat
    answers: AskedAnswers


def read_chat(
    http: Request, server: ServerState, body: ChatCompletionRequest, arrival: float, kind: str
) -> AskedChat:
    """kind: which its id begins with. Raises HttpError and RequestError."""
    body.check(server.facts.max_logprobs, server.config.scheduling_policy)
    answers = AskedAnswers(server, body)
    messages, images = read_messages(body.messages)
    caller = caller_of(http)
    chat = Chat(
        answer_id(http, kind),
        messages,
        images,
        body.sampling_params(
            server.inputs.default_sampling, answers.are_taken_apart, answers.form_of_calls
        ),
        body.options(arrival, caller),
        body.template_options(),
        caller.account,
    )
    return AskedChat(chat, answers)
