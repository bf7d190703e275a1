"""Keeps the arguments of calls to their schemas, and leaves answers free but for that."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from ...contracts.specs import CallForm, JsonDict
from ...protocol.constraints.structured_outputs import StructuredOutputsParams

_NO_PARAMETERS = {"properties": {}, "additionalProperties": False}
_ANY_ARGUMENTS = {"type": "object"}


def arguments_schema(tool: JsonDict) -> dict[str, Any]:
    """Of what a tool is called with: an object, whether or not its parameters say so."""
    parameters: dict[str, Any] = tool["function"].get("parameters") or _NO_PARAMETERS
    return {"type": "object", **parameters}


def strict_calls(
    call: CallForm, tools: Sequence[JsonDict], strict: Collection[str]
) -> StructuredOutputsParams:
    """The form of answers that may call these tools as `call` says, and no others; strict: the
    names of those whose arguments are kept to their schemas. Raises RequestError."""
    structures = [
        {
            "begin": call.begin.replace("{name}", json.dumps(name, ensure_ascii=False)[1:-1]),
            "schema": arguments_schema(tool) if name in strict else _ANY_ARGUMENTS,
            "end": call.end,
        }
        for tool in tools
        for name in [tool["function"]["name"]]
    ]
    return StructuredOutputsParams(
        structural_tag={"structures": structures, "triggers": [call.trigger]}
    )
