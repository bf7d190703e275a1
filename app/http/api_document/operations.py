"""What each endpoint is for, takes and gives; a test holds it against the routes of the servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from ...serving.server_info import ServerInfo
from ..batches.batch_endpoints import BATCH_FIELDS
from ..chat.chat_fields import CHAT_FIELDS
from ..completions.completion_fields import COMPLETION_FIELDS
from ..embeddings import FIELDS as EMBEDDING_FIELDS
from ..field_table import FieldTable
from ..messages.messages_fields import COUNT_TOKENS_FIELDS, MESSAGES_FIELDS
from ..ollama.embedding import EMBED_FIELDS, EMBEDDINGS_FIELDS
from ..ollama.ollama_fields import CHAT_FIELDS as OLLAMA_CHAT_FIELDS
from ..ollama.ollama_fields import GENERATE_FIELDS, SHOW_FIELDS
from ..responses.responses_fields import RESPONSES_FIELDS
from ..tokenizing import DETOKENIZE_FIELDS, TOKENIZE_FIELDS
from . import answers

_LINES = "application/x-ndjson"
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
#: As for captions; see batches/files.py.
_FILE_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
        "purpose": {"const": "batch"},
    },
    "required": ["file", "purpose"],
    "additionalProperties": False,
}
_PAGE: dict[str, Any] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
    "after": {"type": "string"},
}


@dataclass(frozen=True)
class Operation:
    """An endpoint and one of its methods.

    body: of the fields of its JSON body. form: in place of that, the schema of its form. query:
        schemas of its parameters by their names.
    answer: what 200 brings as JSON. text: the type of media that it brings in place of JSON.
    streams: whether the answer may be in pieces, and streamed: the type of media that it is then.
    error: what tells of one.
    """

    summary: str
    answer: type[msgspec.Struct] | None = None
    body: FieldTable[Any] | None = None
    form: Mapping[str, Any] | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    streams: bool = False
    streamed: str = "text/event-stream"
    error: type[msgspec.Struct] = answers.ErrorAnswer


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
    ("POST", "/v1/messages"): Operation(
        "Answer a chat, as Anthropic's API does",
        answers.Message,
        MESSAGES_FIELDS,
        streams=True,
        error=answers.MessagesError,
    ),
    ("POST", "/v1/messages/count_tokens"): Operation(
        "The tokens of such a chat",
        answers.InputTokens,
        COUNT_TOKENS_FIELDS,
        error=answers.MessagesError,
    ),
    ("POST", "/v1/captions"): Operation(
        "Caption the pictures of a form", answers.Captions, form=_CAPTIONS_FORM
    ),
    ("POST", "/v1/embeddings"): Operation(
        "Vectors of texts and pictures", answers.Embeddings, EMBEDDING_FIELDS
    ),
    ("POST", "/v1/files"): Operation("Keep a file of requests", answers.File, form=_FILE_FORM),
    ("GET", "/v1/files"): Operation(
        "The files that are kept",
        answers.Files,
        query={
            **_PAGE,
            "order": {"enum": ["asc", "desc"]},
            "purpose": {"enum": ["batch", "batch_output"]},
        },
    ),
    ("GET", "/v1/files/{id}"): Operation("A file that is kept", answers.File),
    ("DELETE", "/v1/files/{id}"): Operation("Delete a file", answers.DeletedFile),
    ("GET", "/v1/files/{id}/content"): Operation(
        "The bytes of a file", text="application/octet-stream"
    ),
    ("POST", "/v1/batches"): Operation("Answer a file's requests", answers.Batch, BATCH_FIELDS),
    ("GET", "/v1/batches"): Operation("The batches", answers.Batches, query=_PAGE),
    ("GET", "/v1/batches/{id}"): Operation("Where a batch stands", answers.Batch),
    ("POST", "/v1/batches/{id}/cancel"): Operation("End a batch", answers.Batch),
    ("POST", "/tokenize"): Operation(
        "The tokens of a prompt or a chat", answers.Tokens, TOKENIZE_FIELDS
    ),
    ("POST", "/detokenize"): Operation("The text of tokens", answers.Prompt, DETOKENIZE_FIELDS),
    **{
        key: replace(operation, error=answers.OllamaError)
        for key, operation in {
            ("POST", "/api/chat"): Operation(
                "Answer a chat, as Ollama does",
                answers.OllamaChat,
                OLLAMA_CHAT_FIELDS,
                streams=True,
                streamed=_LINES,
            ),
            ("POST", "/api/generate"): Operation(
                "Answer a prompt, as Ollama does",
                answers.OllamaText,
                GENERATE_FIELDS,
                streams=True,
                streamed=_LINES,
            ),
            ("POST", "/api/embed"): Operation(
                "Vectors of texts, as Ollama has them", answers.OllamaVectors, EMBED_FIELDS
            ),
            ("POST", "/api/embeddings"): Operation(
                "The vector of a text", answers.OllamaVector, EMBEDDINGS_FIELDS
            ),
            ("POST", "/api/show"): Operation("A model", answers.OllamaModel, SHOW_FIELDS),
            ("GET", "/api/tags"): Operation("The models that are served", answers.OllamaModels),
            ("GET", "/api/ps"): Operation("The models that are loaded", answers.OllamaModels),
            ("GET", "/api/version"): Operation("Octavo's version", answers.Version),
        }.items()
    },
}
