"""Every field of POST /v1/chat/completions; docs/api.md lists them, and a test compares both."""

from __future__ import annotations

from ..field_table import FieldTable
from ..text_request import FIXED, FREE, HARMLESS, REFUSED
from .chat_request import ChatCompletionRequest

_NO_AUDIO = "the model gives text only"
_TEMPLATE = "use chat_template_kwargs, if the model's template knows it"
_OWN_TEMPLATE = "prompts are written by the model's own chat template"

CHAT_FIELDS = FieldTable(
    ChatCompletionRequest,
    harmless={
        **HARMLESS,
        "safety_identifier": "a name of the caller, for the provider's records",
        "metadata": "notes for the provider's records",
        "store": "answers of chats are kept nowhere",
        "service_tier": "there is one",
        "prediction": "makes answers come sooner, never others",
        "prompt_cache_key": "what prompts share is found without it",
        "prompt_cache_options": "what prompts share is found without it",
        "prompt_cache_retention": "blocks are kept for as long as there is room",
    },
    fixed={
        "modalities": (["text"],),
        "function_call": ("auto", "none"),
        "functions": ([],),
        "echo": (False,),
        **FIXED,
        "add_special_tokens": (False,),
        "best_of": (1,),
    },
    refused={
        **REFUSED,
        "audio": _NO_AUDIO,
        "moderation": "nothing is moderated",
        "reasoning_effort": _TEMPLATE,
        "thinking_token_budget": "the length of thoughts is not limited; max_tokens limits all",
        "verbosity": "ask for a short or a long answer in the prompt",
        "web_search_options": "the server searches nothing",
        "chat_template": _OWN_TEMPLATE,
        "documents": _TEMPLATE,
        "mm_processor_kwargs": "use max_image_tokens or an image's detail",
        "media_io_kwargs": "the operator's flags say how images are read",
        "images": "put them into a message's content, as parts of type image_url",
    },
    free=FREE | {"messages", "tools", "tool_choice", "chat_template_kwargs"},
)
