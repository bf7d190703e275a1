"""Calls with a tag for each argument."""

from collections.abc import Callable

from ....core.contracts.specs import CONTRACT_VERSION, ResponseTemplateSpec
from ....core.registry.hookspecs import hookimpl

_TEXT = {"content": "text"}
_THOUGHTS = {"open": "<think>", "close": "</think>", "content": "text"}
_CALL = {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}}
#: Qwen3-Coder, Qwen 3.5.
QWEN_XML = {
    "fields": {
        "reasoning_content": _THOUGHTS,
        "tool_calls": {
            "open_pattern": r"<tool_call>\s*<function=(?P<name>[^>\n]+)>",
            "close_pattern": r"</function>\s*</tool_call>",
            "repeats": True,
            "content": "xml-inline",
            "content_args": {
                "tag_pattern": r"<parameter=(?P<key>[^>\n]+)>\n?(?P<value>.*?)\n?</parameter>"
            },
            "transform": _CALL,
        },
        "content": _TEXT,
    }
}
#: GLM 4.5 and later.
GLM = {
    "fields": {
        "reasoning_content": _THOUGHTS,
        "tool_calls": {
            "open_pattern": r"<tool_call>\s*(?P<name>[^<\s]+)",
            "close": "</tool_call>",
            "repeats": True,
            "content": "xml-inline",
            "content_args": {
                "tag_pattern": (
                    r"<arg_key>(?P<key>.*?)</arg_key>\s*<arg_value>(?P<value>.*?)</arg_value>"
                )
            },
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
            "qwen-xml", QWEN_XML, ("<tool_call>", "</tool_call>", "<function="), CONTRACT_VERSION
        )
    )
    register(
        ResponseTemplateSpec(
            "glm", GLM, ("<tool_call>", "</tool_call>", "<arg_key>"), CONTRACT_VERSION
        )
    )
