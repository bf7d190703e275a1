"""What each endpoint is for, takes and gives; a test holds it against the routes of the servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ...serving.server_info import ServerInfo
from ..chat.chat_fields import CHAT_FIELDS
from ..completions.completion_fields import COMPLETION_FIELDS
from ..embeddings import FIELDS as EMBEDDING_FIELDS
from ..field_table import FieldTable
from ..responses.responses_fields import RESPONSES_FIELDS
from ..tokenizing import DETOKENIZE_FIELDS, TOKENIZE_FIELDS
from . import answers

#: A form in place of JSON; see captions.py.
_CAPTIONS_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "image": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "contentMediaType": "application/octet-stream"},
        },
        "model": {"type": "string"},
        "prompt": {"type": "string"},
        "max_tokens": {"type": "integer"},
        "temperature": {"type": "number"},
        "seed": {"type": "integer"},
    },
    "required": ["image"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Operation:
    """An endpoint and one of its methods.

    body: of the fields of its JSON body. form: in place of that, the schema of its form.
    answer: what 200 brings as JSON. text: the type of media that it brings in place of JSON.
    streams: whether `stream` makes events of the answer.
    """

    summary: str
    answer: type[msgspec.Struct] | None = None
    body: FieldTable[Any] | None = None
    form: Mapping[str, Any] | None = None
    text: str | None = None
    streams: bool = False


#: By method and path.
OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/health"): Operation("Whether requests can be taken", answers.Health),
    ("GET", "/health/ready"): Operation("As /health", answers.Health),
    ("GET", "/health/live"): Operation("Whether the server's process answers", answers.Health),
    ("GET", "/ping"): Operation("As /health", answers.Health),
    ("POST", "/ping"): Operation("As /health", answers.Health),
    ("GET", "/version"): Operation("Octavo's version", answers.Version),
    ("GET", "/info"): Operation("What runs: device, kernels, plugins", ServerInfo),
    ("GET", "/metrics"): Operation("Metrics for Prometheus", text="text/plain"),
    ("GET", "/openapi.json"): Operation("This document", text="application/json"),
    ("GET", "/docs"): Operation("This document as a page", text="text/html"),
    ("GET", "/v1/models"): Operation("The models that are served", answers.Models),
    ("GET", "/v1/models/{id}"): Operation("A model that is served", answers.Model),
    ("POST", "/v1/chat/completions"): Operation(
        "Answer a chat, with pictures in it", answers.ChatCompletion, CHAT_FIELDS, streams=True
    ),
    ("POST", "/v1/completions"): Operation(
        "Go on with a text", answers.Completion, COMPLETION_FIELDS, streams=True
    ),
    ("POST", "/v1/responses"): Operation(
        "Answer, and keep the conversation", answers.Response, RESPONSES_FIELDS, streams=True
    ),
    ("GET", "/v1/responses/{id}"): Operation("A response that is kept", answers.Response),
    ("DELETE", "/v1/responses/{id}"): Operation(
        "Keep a response no longer", answers.DeletedResponse
    ),
    ("POST", "/v1/captions"): Operation(
        "Caption the pictures of a form", answers.Captions, form=_CAPTIONS_FORM
    ),
    ("POST", "/v1/embeddings"): Operation(
        "Vectors of texts and pictures", answers.Embeddings, EMBEDDING_FIELDS
    ),
    ("POST", "/tokenize"): Operation(
        "The tokens of a prompt or a chat", answers.Tokens, TOKENIZE_FIELDS
    ),
    ("POST", "/detokenize"): Operation("The text of tokens", answers.Prompt, DETOKENIZE_FIELDS),
}
