"""Calls as JSON between <tool_call> and </tool_call>: Hermes, Qwen 2.5 and 3, Granite 4."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, CallForm, ResponseTemplateSpec
from ....core.registry.hookspecs import hookimpl

TEMPLATE = {
    "fields": {
        "reasoning_content": {"open": "<think>", "close": "</think>", "content": "text"},
        "tool_calls": {
            "open_pattern": r"<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"content": "text"},
    }
}
CALL_FORM = CallForm(
    trigger="<tool_call>",
    begin='<tool_call>\n{"name": "{name}", "arguments": ',
    end="}\n</tool_call>",
)


@hookimpl
def octavo_register_response_templates(register: Callable[[ResponseTemplateSpec], None]) -> None:
    """Register the template."""
    register(
        ResponseTemplateSpec(
            "hermes", TEMPLATE, ("<tool_call>", "</tool_call>"), CONTRACT_VERSION, CALL_FORM
        )
    )
