"""A kind, a name and a block of JSON for each call: DeepSeek V3 and R1."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ResponseTemplateSpec
from ....core.registry.hookspecs import hookimpl

TEMPLATE = {
    "fields": {
        "reasoning_content": {"open": "<think>", "close": "</think>", "content": "text"},
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
            "deepseek-v3", TEMPLATE, ("<｜tool▁calls▁begin｜>", "```json"), CONTRACT_VERSION
        )
    )
