"""Every field of POST /v1/messages and /v1/messages/count_tokens; docs/api.md lists them, and a
test compares both."""

from __future__ import annotations

from ..chat.chat_fields import CHAT_FIELDS
from ..field_table import FieldTable
from .messages_request import CountTokensRequest, MessagesRequest

_CALLER = "a name of the caller, for the provider's records"
_HARMLESS = {
    "cache_control": "what prompts share is found without it",
    "user_profile_id": _CALLER,
    "workspace_id": _CALLER,
}
_FIXED = {"speed": ("standard",)}
_REFUSED = {
    "mcp_servers": "the server calls no tools",
    "context_management": "a conversation is taken whole or refused; shorten it",
    "output_format": "it is called output_config.format here",
}

MESSAGES_FIELDS = FieldTable(
    MessagesRequest,
    harmless={
        **_HARMLESS,
        "metadata": "notes for the provider's records",
        "service_tier": CHAT_FIELDS.harmless["service_tier"],
    },
    fixed=_FIXED,
    refused={
        **_REFUSED,
        "container": "no code runs here",
        "diagnostics": "what prompts share is not told; usage says how much it was",
        "inference_geo": "the server is where it is",
        "stop": "it is called stop_sequences here",
        "max_completion_tokens": "it is called max_tokens here",
    },
    free=frozenset({"messages", "system", "tools", "output_config", "chat_template_kwargs"}),
)
COUNT_TOKENS_FIELDS = FieldTable(
    CountTokensRequest,
    harmless=_HARMLESS,
    fixed=_FIXED,
    refused=_REFUSED,
    free=MESSAGES_FIELDS.free,
)
