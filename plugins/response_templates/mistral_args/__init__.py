"""A name and JSON for each call, after [TOOL_CALLS] and [ARGS]: Mistral Small 3.2 and later."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ResponseTemplateSpec
from ....core.registry.hookspecs import hookimpl

TEMPLATE = {
    "fields": {
        "reasoning_content": {"open": "[THINK]", "close": "[/THINK]", "content": "text"},
        "tool_calls": {
            "open_pattern": (
                r"\[TOOL_CALLS\]\s*(?P<name>[^\[\{\s]+)\s*(?:\[CALL_ID\][^\[]*)?\[ARGS\]"
            ),
            "close_pattern": r"(?=\[TOOL_CALLS\])",
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
        ResponseTemplateSpec("mistral-args", TEMPLATE, ("[TOOL_CALLS]", "[ARGS]"), CONTRACT_VERSION)
    )
