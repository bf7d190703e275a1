"""Reads OpenAI-style definitions of tools, for the chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...core.protocol.errors import RequestError
from .message_parts import HARMLESS_PART_FIELDS, refuse_unknown

_TOOL_FIELDS = ("type", "function", *HARMLESS_PART_FIELDS)
#: The fields of a function and their types; all but `strict` are given to the template. `return`
#: is what transformers' `get_json_schema` writes besides OpenAI's.
_FUNCTION_FIELDS: dict[str, tuple[type, str]] = {
    "name": (str, "a text"),
    "description": (str, "a text"),
    "parameters": (Mapping, "a JSON schema, which is an object"),
    "return": (Mapping, "a JSON schema, which is an object"),
    "strict": (bool, "true or false"),
}


def strict_tools(tools: Any) -> dict[str, str]:
    """Of tools that `read_tools` has read, those that are strict: by name, the field that says so
    in the request."""
    return {
        tool["function"]["name"]: f"tools[{i}].function.strict"
        for i, tool in enumerate(tools or ())
        if tool["function"].get("strict")
    }


def read_tools(tools: Any, strict_allowed: bool = False) -> list[dict[str, Any]]:
    """The tools as a chat template takes them. strict_allowed: whether arguments are kept to their
    schemas. Raises RequestError that names the field at fault; what `parameters` holds is free."""
    if tools is None:
        return []
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise RequestError("tools must be a list of definitions of functions", "tools")
    read = [_read_tool(tool, f"tools[{i}]", strict_allowed) for i, tool in enumerate(tools)]
    known = set[str]()
    for i, tool in enumerate(read):
        name = tool["function"]["name"]
        if name in known:
            param = f"tools[{i}].function.name"
            raise RequestError(f"{param}: another tool is called {name!r}, too", param)
        known.add(name)
    return read


def _read_tool(tool: Any, param: str, strict_allowed: bool) -> dict[str, Any]:
    if not isinstance(tool, Mapping):
        raise RequestError(f"{param} must be an object with a function", param)
    kind = tool.get("type")
    if kind not in (None, "function"):
        param = f"{param}.type"
        raise RequestError(f"{param} can only be function: no other tools are known here", param)
    refuse_unknown(tool, _TOOL_FIELDS, param)
    read = {
        "type": "function",
        "function": _read_function(tool, f"{param}.function", strict_allowed),
    }
    # In the order of its fields, in which templates write it.
    return {name: read[name] for name in tool if name in read} if "type" in tool else read


def _read_function(tool: Mapping[str, Any], param: str, strict_allowed: bool) -> dict[str, Any]:
    function = tool.get("function")
    if not isinstance(function, Mapping) or not function.get("name"):
        raise RequestError(f"{param} must be an object with a name", param)
    refuse_unknown(function, tuple(_FUNCTION_FIELDS), param)
    given = {name: value for name, value in function.items() if value is not None}
    for name, value in given.items():
        kind, description = _FUNCTION_FIELDS[name]
        if not isinstance(value, kind):
            raise RequestError(f"{param}.{name} must be {description}", f"{param}.{name}")
    if given.pop("strict", False) and not strict_allowed:
        param = f"{param}.strict"
        raise RequestError(
            f'{param} can only be true where tool_choice makes a call of the answer: "required", '
            "or a function's name",
            param,
        )
    return given
