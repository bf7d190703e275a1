"""Calls of Mistral, after [TOOL_CALLS]."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ResponseTemplateSpec
from ....core.registry.hookspecs import hookimpl

_TEXT = {"content": "text"}
_THOUGHTS = {"open": "[THINK]", "close": "[/THINK]", "content": "text"}
_CALL = {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}}
_LISTED_CALL = {"type": "function", "function": {"name": "{name}", "arguments": "{arguments}"}}
#: A list in JSON.
LIST = {
    "fields": {
        "reasoning_content": _THOUGHTS,
        "tool_calls": {
            "open_pattern": r"\[TOOL_CALLS\]",
            "content": "json",
            "transform": _LISTED_CALL,
            "transform_each": True,
        },
        "content": _TEXT,
    }
}
#: A name and JSON for each, between them [ARGS]: Small 3.2 and later.
ARGS = {
    "fields": {
        "reasoning_content": _THOUGHTS,
        "tool_calls": {
            "open_pattern": (
                r"\[TOOL_CALLS\]\s*(?P<name>[^\[\{\s]+)\s*(?:\[CALL_ID\][^\[]*)?\[ARGS\]"
            ),
            "close_pattern": r"(?=\[TOOL_CALLS\])",
            "repeats": True,
            "content": "json",
            "transform": _CALL,
        },
        "content": _TEXT,
    }
}


@hookimpl
def octavo_register_response_templates(register: Callable[[ResponseTemplateSpec], None]) -> None:
    """Register both templates."""
    register(ResponseTemplateSpec("mistral", LIST, ("[TOOL_CALLS]",), CONTRACT_VERSION))
    register(
        ResponseTemplateSpec("mistral-args", ARGS, ("[TOOL_CALLS]", "[ARGS]"), CONTRACT_VERSION)
    )
