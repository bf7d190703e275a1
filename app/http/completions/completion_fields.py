"""Every field of POST /v1/completions; docs/api.md lists them, and a test compares both."""

from __future__ import annotations

from ..field_table import FieldTable
from ..text_request import FIXED, FREE, HARMLESS, REFUSED
from .completion_request import CompletionRequest

_CHAT = "it is for chats; send messages to POST /v1/chat/completions"

COMPLETION_FIELDS = FieldTable(
    CompletionRequest,
    harmless=HARMLESS,
    fixed=FIXED,
    refused={
        **REFUSED,
        "suffix": "the model only goes on with a prompt",
        "prompt_embeds": "prompts are texts or token ids",
        "messages": _CHAT,
        "tools": _CHAT,
        "max_completion_tokens": "it is called max_tokens here",
        "top_logprobs": "logprobs says how many",
    },
    free=FREE | {"prompt"},
)
