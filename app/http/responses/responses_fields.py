"""Every field of POST /v1/responses; docs/api.md lists them, and a test compares both."""

from __future__ import annotations

from ..chat.chat_fields import CHAT_FIELDS
from ..field_table import FieldTable
from ..text_request import REFUSED
from .responses_request import ResponsesRequest

_HARMLESS = (
    "user",
    "safety_identifier",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
)
_AS_IN_CHATS = ("moderation", "chat_template", "mm_processor_kwargs", "media_io_kwargs")
_NAMES = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}

RESPONSES_FIELDS = FieldTable(
    ResponsesRequest,
    harmless={name: CHAT_FIELDS.harmless[name] for name in _HARMLESS},
    fixed={
        "truncation": ("disabled",),
        "background": (False,),
    },
    refused={
        **REFUSED,
        **{name: CHAT_FIELDS.refused[name] for name in _AS_IN_CHATS},
        **{name: f"it is called {here} here" for name, here in _NAMES.items()},
        "reasoning": "use chat_template_kwargs, if the model's template knows how to ask for it",
        "conversation": "conversations are kept as responses: use previous_response_id",
        "prompt": "no prompts are kept here; send instructions and input",
        "max_tool_calls": "the server calls no tools; parallel_tool_calls limits an answer to one",
        "context_management": "a conversation is taken whole or refused; shorten it",
        "background_options": "no answer is made in the background",
        "access_programs": "there are none",
        "image": "use max_image_tokens or an image's detail",
        "response_format": "it is called text.format here",
        "messages": "they are called input here",
    },
    free=frozenset({"input", "tools", "tool_choice", "text", "chat_template_kwargs"}),
)
