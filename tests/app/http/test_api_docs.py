"""docs/api.md lists the fields that the API has, and what becomes of each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsBase
from octavo.app.http.batches.batch_endpoints import BATCH_FIELDS
from octavo.app.http.captions import FIELDS as CAPTION_FIELDS
from octavo.app.http.chat.chat_fields import CHAT_FIELDS
from octavo.app.http.completions.completion_fields import COMPLETION_FIELDS
from octavo.app.http.embeddings import FIELDS as EMBEDDING_FIELDS
from octavo.app.http.field_table import FieldTable
from octavo.app.http.messages.messages_fields import COUNT_TOKENS_FIELDS, MESSAGES_FIELDS
from octavo.app.http.ollama.embedding import EMBED_FIELDS, EMBEDDINGS_FIELDS
from octavo.app.http.ollama.ollama_fields import CHAT_FIELDS as OLLAMA_CHAT_FIELDS
from octavo.app.http.ollama.ollama_fields import GENERATE_FIELDS, SHOW_FIELDS
from octavo.app.http.ollama.options import OPTIONS
from octavo.app.http.responses.responses_fields import RESPONSES_FIELDS
from octavo.app.http.tokenizing import DETOKENIZE_FIELDS, TOKENIZE_FIELDS
from ollama import Options
from ollama._types import ChatRequest, EmbeddingsRequest, EmbedRequest, GenerateRequest
from openai.types import EmbeddingCreateParams
from openai.types.batch_create_params import BatchCreateParams
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsBase as ChatCompletionCreateParamsBase,
)
from openai.types.completion_create_params import CompletionCreateParamsBase
from openai.types.responses.response_create_params import ResponseCreateParamsBase

DOCS = Path(__file__).parents[3] / "docs" / "api.md"


def rows(table: FieldTable[Any]) -> dict[str, str]:
    """By name, in the order of the table; a field of fixed values may be an honoured one, too."""
    fixed = {
        name: f"only {' or '.join(map(json.dumps, values))}" for name, values in table.fixed.items()
    }
    return {
        **{name: "honoured" for name in table.honoured.__struct_fields__ if name not in fixed},
        **{name: f"harmless: {why}" for name, why in table.harmless.items()},
        **fixed,
        **{name: f"refused: {what}" for name, what in table.refused.items()},
    }


TABLES = {
    "v1/chat/completions": rows(CHAT_FIELDS),
    "v1/completions": rows(COMPLETION_FIELDS),
    "v1/responses": rows(RESPONSES_FIELDS),
    "v1/messages": rows(MESSAGES_FIELDS),
    "v1/messages/count_tokens": rows(COUNT_TOKENS_FIELDS),
    "api/chat": rows(OLLAMA_CHAT_FIELDS),
    "api/generate": rows(GENERATE_FIELDS),
    "api/chat and /api/generate: options": rows(OPTIONS),
    "api/embed": rows(EMBED_FIELDS),
    "api/embeddings": rows(EMBEDDINGS_FIELDS),
    "api/show": rows(SHOW_FIELDS),
    "v1/embeddings": rows(EMBEDDING_FIELDS),
    "v1/batches": rows(BATCH_FIELDS),
    "v1/captions": dict.fromkeys(("image", *CAPTION_FIELDS), "honoured"),
    "tokenize": rows(TOKENIZE_FIELDS),
    "detokenize": rows(DETOKENIZE_FIELDS),
}


@pytest.mark.parametrize("path", TABLES)
def test_the_docs_say_what_becomes_of_each_field(path: str) -> None:
    section = DOCS.read_text().split(f"## Fields of POST /{path}\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)
    assert listed == list(TABLES[path].items())


def test_all_fields_of_the_apis_clients_are_known() -> None:
    assert set(ChatCompletionCreateParamsBase.__annotations__) <= set(TABLES["v1/chat/completions"])
    assert set(CompletionCreateParamsBase.__annotations__) <= set(TABLES["v1/completions"])
    assert set(ResponseCreateParamsBase.__annotations__) <= set(TABLES["v1/responses"])
    assert set(MessageCreateParamsBase.__annotations__) <= set(TABLES["v1/messages"])
    counted = set(MessageCountTokensParams.__annotations__)
    assert counted <= set(TABLES["v1/messages/count_tokens"])
    for request, path in (
        (ChatRequest, "api/chat"),
        (GenerateRequest, "api/generate"),
        (Options, "api/chat and /api/generate: options"),
        (EmbedRequest, "api/embed"),
        (EmbeddingsRequest, "api/embeddings"),
    ):
        assert set(request.model_fields) <= set(TABLES[path])
    assert set(EmbeddingCreateParams.__annotations__) <= set(TABLES["v1/embeddings"])
    assert set(BatchCreateParams.__annotations__) <= set(TABLES["v1/batches"])
