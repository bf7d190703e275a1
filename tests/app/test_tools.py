"""What a definition of a tool has goes to the chat template, or is refused by its name."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from octavo.app.serving.tools import read_tools
from octavo.core.protocol.request_error import RequestError
from openai import pydantic_function_tool
from openai.types.shared_params import FunctionDefinition
from pydantic import BaseModel
from serving import chat


class Weather(BaseModel):
    """The weather of a city."""

    city: str


FREE = {"type": "object", "strict": True, "x-unknown": [None, {"$ref": "#"}]}
FIELDS: dict[str, Any] = {"name": "a", "description": "b", "parameters": FREE, "strict": False}


def tool(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "a", **fields}}


def test_every_field_of_openais_type_is_taken() -> None:
    assert set(get_type_hints(FunctionDefinition)) == set(FIELDS)
    (read,) = read_tools([tool(**FIELDS)])
    expected = {name: value for name, value in FIELDS.items() if name != "strict"}
    assert read == {"type": "function", "function": expected}


def test_the_order_of_fields_is_kept_as_templates_write_it() -> None:
    given = {"function": {"parameters": {}, "name": "a"}, "type": "function"}
    assert repr(read_tools([given])) == repr([given])


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("weather", "tools[0]"),
        ({"type": "custom", "custom": {"name": "a"}}, "tools[0].type"),
        ({"name": "a", "parameters": {}}, "tools[0].name"),
        ({"type": "function"}, "tools[0].function"),
        ({**tool(), "functoin": {}}, "tools[0].functoin"),
        (tool(name=None), "tools[0].function"),
        (tool(name=1), "tools[0].function.name"),
        (tool(paramters={}), "tools[0].function.paramters"),
        (tool(parameters="{}"), "tools[0].function.parameters"),
        (tool(description=["b"]), "tools[0].function.description"),
        (tool(strict="yes"), "tools[0].function.strict"),
    ],
)
def test_what_a_template_would_ignore_is_named(demo_server: str, given: Any, param: str) -> None:
    with pytest.raises(RequestError) as raised:
        read_tools([given])
    assert raised.value.param == param
    for choice in ("auto", "none"):
        answer = chat(demo_server, tools=[given], tool_choice=choice)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param


def test_strict_tools_are_refused_where_no_call_is_kept_to_its_schema() -> None:
    with pytest.raises(RequestError) as raised:
        read_tools([pydantic_function_tool(Weather)])
    assert raised.value.param == "tools[0].function.strict"


def test_two_tools_of_a_name_are_refused() -> None:
    with pytest.raises(RequestError, match="another tool is called 'a', too") as raised:
        read_tools([tool(), tool(description="b")])
    assert raised.value.param == "tools[1].function.name"
