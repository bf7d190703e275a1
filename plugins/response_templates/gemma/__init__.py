"""Calls of Gemma 4 and FunctionGemma, whose keys have no quotes."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ResponseTemplateSpec
from ....core.registry.hookspecs import hookimpl

_TEXT = {"content": "text"}
_CALL = {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}}
GEMMA4 = {
    "fields": {
        "reasoning_content": {
            "open": "<|channel>thought\n",
            "close": "<channel|>",
            "content": "text",
        },
        "tool_calls": {
            "open_pattern": r"<\|tool_call>\s*call:(?P<name>[\w.-]+)",
            "close": "<tool_call|>",
            "repeats": True,
            "content": "json",
            "content_args": {"unquoted_keys": True, "string_delims": [['<|"|>', '<|"|>']]},
            "transform": _CALL,
        },
        "content": _TEXT,
    }
}
FUNCTION_GEMMA = {
    "fields": {
        "tool_calls": {
            "open_pattern": r"<start_function_call>\s*call:(?P<name>[\w.-]+)",
            "close": "<end_function_call>",
            "repeats": True,
            "content": "json",
            "content_args": {"unquoted_keys": True, "string_delims": [["<escape>", "<escape>"]]},
            "transform": _CALL,
        },
        "content": _TEXT,
    }
}


@hookimpl
def octavo_register_response_templates(register: Callable[[ResponseTemplateSpec], None]) -> None:
    """Register both templates."""
    register(
        ResponseTemplateSpec("gemma4", GEMMA4, ("<|tool_call>", "<tool_call|>"), CONTRACT_VERSION)
    )
    register(
        ResponseTemplateSpec(
            "function-gemma",
            FUNCTION_GEMMA,
            ("<start_function_call>", "<end_function_call>"),
            CONTRACT_VERSION,
        )
    )
