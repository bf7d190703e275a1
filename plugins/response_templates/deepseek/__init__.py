"""Calls of DeepSeek: a name, and JSON."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ResponseTemplateSpec
from ....core.registry.hookspecs import hookimpl

_TEXT = {"content": "text"}
_THOUGHTS = {"open": "<think>", "close": "</think>", "content": "text"}
_CALL = {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}}
#: And R1: the JSON is a block of Markdown.
V3 = {
    "fields": {
        "reasoning_content": _THOUGHTS,
        "tool_calls": {
            "open_pattern": (
                r"(?:<｜tool▁calls▁begin｜>\s*)?"
                r"<｜tool▁call▁begin｜>\w*<｜tool▁sep｜>(?P<name>[^\n]+)\n```json\n"
            ),
            # What follows is looked at, as the mark that ends all calls belongs to the last.
            "close_pattern": (
                r"\n```\s*<｜tool▁call▁end｜>"
                r"(?:\s*<｜tool▁calls▁end｜>|(?=\s*<｜tool▁call▁begin｜>)|(?=\s*[^\s<])|\s*\Z)"
            ),
            "repeats": True,
            "content": "json",
            "transform": _CALL,
        },
        "content": _TEXT,
    }
}
#: V3.1 and later.
V31 = {
    "fields": {
        "reasoning_content": _THOUGHTS,
        "tool_calls": {
            "open_pattern": (
                r"(?:<｜tool▁calls▁begin｜>\s*)?"
                r"<｜tool▁call▁begin｜>(?P<name>[^<\s]+)<｜tool▁sep｜>"
            ),
            # What follows is looked at, as the mark that ends all calls belongs to the last.
            "close_pattern": (
                r"<｜tool▁call▁end｜>"
                r"(?:\s*<｜tool▁calls▁end｜>|(?=\s*<｜tool▁call▁begin｜>)|(?=\s*[^\s<])|\s*\Z)"
            ),
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
    register(
        ResponseTemplateSpec(
            "deepseek-v3", V3, ("<｜tool▁calls▁begin｜>", "```json"), CONTRACT_VERSION
        )
    )
    register(
        ResponseTemplateSpec(
            "deepseek-v31", V31, ("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"), CONTRACT_VERSION
        )
    )
