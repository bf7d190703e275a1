"""Calls as a list in Python, the whole answer: Llama 4, Llama 3.2 by its own prompt."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ResponseTemplateSpec
from ....core.registry.hookspecs import hookimpl

TEMPLATE = {
    "fields": {
        "tool_calls": {
            "open_pattern": r"\A\s*(?:<\|python_start\|>)?\s*(?=\[\s*[A-Za-z_][\w.-]*\()",
            "close": "<|python_end|>",
            "content": "python-call-list",
            "transform": {
                "type": "function",
                "function": {"name": "{name}", "arguments": "{arguments}"},
            },
            "transform_each": True,
        },
        "content": {"content": "text"},
    }
}


@hookimpl
def octavo_register_response_templates(register: Callable[[ResponseTemplateSpec], None]) -> None:
    """Register the template."""
    register(
        ResponseTemplateSpec(
            "pythonic", TEMPLATE, ("func_name1(", "params_name1"), CONTRACT_VERSION
        )
    )
