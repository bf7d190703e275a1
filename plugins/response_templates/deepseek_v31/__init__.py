"""A name and JSON for each call: DeepSeek V3.1 and later."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ResponseTemplateSpec
from ....core.registry.hookspecs import hookimpl

TEMPLATE = {
    "fields": {
        "reasoning_content": {"open": "<think>", "close": "</think>", "content": "text"},
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
            "transform": {
                "type": "function",
                "function": {"name": "{name}", "arguments": "{content}"},
            },
        },
        "content": {"content": "text"},
    }
}


@hookimpl
def octavo_register_response_templates(register: Callable[[ResponseTemplateSpec], None]) -> None:
    """Register the template."""
    register(
        ResponseTemplateSpec(
            "deepseek-v31", TEMPLATE, ("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"), CONTRACT_VERSION
        )
    )
