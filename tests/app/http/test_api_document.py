"""GET /openapi.json and /docs: a good document, which real answers keep to."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import jsonschema
import pytest
from octavo.app.http.api_document.body_schema import body_schema
from octavo.app.http.api_document.operations import OPERATIONS
from octavo.app.http.chat.chat_fields import CHAT_FIELDS
from octavo.app.http.errors import HttpError
from openapi_spec_validator import OpenAPIV31SpecValidator
from PIL import Image

#: What the demo model has no answers for.
OF_EMBEDDINGS = {("POST", f"/{path}") for path in ("v1/embeddings", "api/embed", "api/embeddings")}
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def document(demo_server: str) -> dict[str, Any]:
    answer = httpx.get(f"{demo_server}/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(buffer, "PNG")
    return buffer.getvalue()


def shown() -> list[dict[str, Any]]:
    url = "data:image/png;base64," + base64.b64encode(picture()).decode()
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": url}]
    return [{"role": "user", "content": parts}]


def check_answer(document: dict[str, Any], path: str, answer: httpx.Response) -> None:
    """That the document has an answer's status and body."""
    operation = document["paths"][path][answer.request.method.lower()]
    media = answer.headers["Content-Type"].partition(";")[0]
    schema = operation["responses"][str(answer.status_code)]["content"][media]["schema"]
    if media == "application/json":
        jsonschema.validate(answer.json(), {**schema, "components": document["components"]})


def check_body(document: dict[str, Any], path: str, body: Any) -> None:
    """That the document allows it."""
    content = document["paths"][path]["post"]["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    jsonschema.validate(body, {**schema, "components": document["components"]})


def test_it_is_an_openapi_document(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()
    described = {
        (method.upper(), path) for path, found in document["paths"].items() for method in found
    }
    assert described == set(OPERATIONS) - OF_EMBEDDINGS


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": HELLO, "n": 2, "logprobs": True, "max_tokens": 2}),
        ("/v1/chat/completions", {"messages": shown(), "max_tokens": 2, "stop": ["a"], "n": None}),
        ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 2, "stream": True}),
        ("/v1/completions", {"prompt": ["One", "Two"], "max_tokens": 2, "logprobs": 1}),
        ("/v1/completions", {"prompt": [5, 6, 7], "max_tokens": 2.0, "echo": True}),
        ("/v1/responses", {"input": "Hello", "max_output_tokens": 2, "metadata": {"a": "b"}}),
        ("/v1/messages", {"messages": HELLO, "max_tokens": 2, "system": "Hi", "tools": None}),
        ("/v1/messages", {"messages": HELLO, "max_tokens": 2, "stream": True}),
        ("/v1/messages/count_tokens", {"messages": HELLO}),
        ("/api/chat", {"model": "octavo-demo", "messages": HELLO, "options": {"num_predict": 2}}),
        ("/api/generate", {"model": "octavo-demo", "prompt": "Hello", "stream": False}),
        ("/api/show", {"model": "octavo-demo"}),
        ("/tokenize", {"prompt": "Hello", "return_token_strs": True}),
        ("/tokenize", {"messages": HELLO}),
        ("/detokenize", {"tokens": [5, 6, 7]}),
    ],
)
def test_answers_are_as_it_says(
    demo_server: str, document: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    answer = httpx.post(demo_server + path, json=body, timeout=240)
    assert answer.status_code == 200, answer.text
    check_answer(document, path, answer)
    check_body(document, path, body)


def test_kept_responses_and_captions_are(demo_server: str, document: dict[str, Any]) -> None:
    with httpx.Client(base_url=demo_server, timeout=240) as http:
        body = {"input": "Hello", "max_output_tokens": 2, "store": True}
        kept = http.post("/v1/responses", json=body).json()["id"]
        for method in ("GET", "DELETE", "GET"):
            answer = http.request(method, f"/v1/responses/{kept}")
            check_answer(document, "/v1/responses/{id}", answer)
        assert answer.status_code == 404
        form = http.post("/v1/captions", files=[("image", ("a.png", picture()))])
        assert form.status_code == 200, form.text
        check_answer(document, "/v1/captions", form)


@pytest.mark.parametrize(
    "path",
    [
        *("/health", "/health/ready", "/health/live", "/ping", "/version", "/info", "/metrics"),
        *("/v1/models", "/openapi.json", "/api/tags", "/api/ps", "/api/version"),
    ],
)
def test_facts_are(demo_server: str, document: dict[str, Any], path: str) -> None:
    answer = httpx.get(demo_server + path)
    assert answer.status_code == 200
    check_answer(document, path, answer)


def test_a_model_by_its_name_is(demo_server: str, document: dict[str, Any]) -> None:
    for name, status in (("octavo-demo", 200), ("other", 404)):
        answer = httpx.get(f"{demo_server}/v1/models/{name}")
        assert answer.status_code == status
        check_answer(document, "/v1/models/{id}", answer)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": HELLO, "message": 1},
        {"messages": HELLO, "max_tokens": "2"},
        {"messages": HELLO, "modalities": ["audio"]},
        {"messages": HELLO, "stream": 1},
        {"messages": [{"role": "robot", "content": "Hello"}]},
        {"messages": []},
        {"messages": [{"content": "Hello"}]},
    ],
)
def test_what_it_forbids_is_refused(
    demo_server: str, document: dict[str, Any], body: dict[str, Any]
) -> None:
    path = "/v1/chat/completions"
    with pytest.raises(jsonschema.ValidationError):
        check_body(document, path, body)
    answer = httpx.post(demo_server + path, json=body)
    assert answer.status_code == 400
    check_answer(document, path, answer)


def test_each_field_may_be_null() -> None:
    schema = body_schema(CHAT_FIELDS)
    for name, field in schema["properties"].items():
        if name not in schema["required"]:
            jsonschema.validate(None, field)
    # Neither does the document name what is refused by its name.
    for name in CHAT_FIELDS.refused:
        with pytest.raises(HttpError, match=name):
            CHAT_FIELDS.read({"messages": HELLO, name: 1})
        with pytest.raises(jsonschema.ValidationError, match=name):
            jsonschema.validate({"messages": HELLO, name: 1}, schema)


def test_the_page_lists_endpoints_and_fields(demo_server: str) -> None:
    page = httpx.get(f"{demo_server}/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "script" not in page.text
    assert "src=" not in page.text
    for method, path in set(OPERATIONS) - OF_EMBEDDINGS:
        assert f"<code>{method} {path}</code>" in page.text
    for name in CHAT_FIELDS.honoured.__struct_fields__:
        assert f"<li><code>{name}</code>" in page.text
    allowed = "&quot;auto&quot; or &quot;none&quot; or &quot;required&quot; or object"
    assert f'<code>tool_choice</code> <span class="soft">{allowed}</span>' in page.text


def test_errors_of_other_shapes_are(demo_server: str, document: dict[str, Any]) -> None:
    for path in ("/v1/messages", "/api/chat"):
        answer = httpx.post(demo_server + path, json={})
        assert answer.status_code == 400
        check_answer(document, path, answer)
