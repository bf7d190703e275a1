"""Calls as call:name{…} between marks: FunctionGemma."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ResponseTemplateSpec
from ....core.registry.hookspecs import hookimpl

TEMPLATE = {
    "fields": {
        "tool_calls": {
            "open_pattern": r"<start_function_call>\s*call:(?P<name>[\w.-]+)",
            "close": "<end_function_call>",
            "repeats": True,
            "content": "json",
            "content_args": {"unquoted_keys": True, "string_delims": [["<escape>", "<escape>"]]},
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
            "function-gemma",
            TEMPLATE,
            ("<start_function_call>", "<end_function_call>"),
            CONTRACT_VERSION,
        )
    )
