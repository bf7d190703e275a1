"""A call as the whole answer, in JSON: Llama 3.1 to 3.3."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ResponseTemplateSpec
from ....core.registry.hookspecs import hookimpl

TEMPLATE = {
    "fields": {
        "tool_calls": {
            "open_pattern": r"\A\s*(?:<\|python_tag\|>)?\s*(?=\{\s*\"name\"\s*:)",
            "content": "json",
            "transform": {
                "type": "function",
                "function": {"name": "{content.name}", "arguments": "{content.parameters}"},
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
            "llama-json",
            TEMPLATE,
            ("<|start_header_id|>", "dictionary of argument name and its value"),
            CONTRACT_VERSION,
        )
    )
