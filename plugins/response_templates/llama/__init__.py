"""Calls of Llama, each the whole answer."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ResponseTemplateSpec
from ....core.registry.hookspecs import hookimpl

_TEXT = {"content": "text"}
_LISTED_CALL = {"type": "function", "function": {"name": "{name}", "arguments": "{arguments}"}}
#: A call in JSON: 3.1 to 3.3.
JSON = {
    "fields": {
        "tool_calls": {
            "open_pattern": r"\A\s*(?:<\|python_tag\|>)?\s*(?=\{\s*\"name\"\s*:)",
            "content": "json",
            "transform": {
                "type": "function",
                "function": {"name": "{content.name}", "arguments": "{content.parameters}"},
            },
        },
        "content": _TEXT,
    }
}
#: A list of calls in Python: 4, and 3.2 by its own prompt.
PYTHONIC = {
    "fields": {
        "tool_calls": {
            "open_pattern": r"\A\s*(?:<\|python_start\|>)?\s*(?=\[\s*[A-Za-z_][\w.-]*\()",
            "close": "<|python_end|>",
            "content": "python-call-list",
            "transform": _LISTED_CALL,
            "transform_each": True,
        },
        "content": _TEXT,
    }
}


@hookimpl
def octavo_register_response_templates(register: Callable[[ResponseTemplateSpec], None]) -> None:
    """Register both templates."""
    register(
        ResponseTemplateSpec(
            "llama-json",
            JSON,
            ("<|start_header_id|>", "dictionary of argument name and its value"),
            CONTRACT_VERSION,
        )
    )
    register(
        ResponseTemplateSpec(
            "pythonic", PYTHONIC, ("func_name1(", "params_name1"), CONTRACT_VERSION
        )
    )
