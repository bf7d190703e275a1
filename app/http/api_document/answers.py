"""What answers hold, for the API's document; tests hold real answers against it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Error(msgspec.Struct):
    """param: the part of the request at fault. code: a short name of what is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(msgspec.Struct):
    """In OpenAI's shape."""

    error: Error


class PromptTokensDetails(msgspec.Struct):
    """cached_tokens: that another prompt with the same beginning had left. image_tokens: that stand
    for images."""

    cached_tokens: int
    image_tokens: int


class Usage(msgspec.Struct):
    """Tokens in and out."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class FunctionCall(msgspec.Struct):
    """arguments: JSON in a text."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct):
    """A call that the answer asks for."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class AnswerMessage(msgspec.Struct):
    """content: None beside calls. reasoning_content: thoughts, where the model marks them."""

    role: Literal["assistant"]
    content: str | None
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    tool_calls: list[ToolCall] | msgspec.UnsetType = msgspec.UNSET


class ChatChoice(msgspec.Struct):
    """stop_reason: the stop string or token that ended the answer."""

    index: int
    message: AnswerMessage
    finish_reason: Literal["stop", "length", "tool_calls"]
    stop_reason: str | int | None
    logprobs: dict[str, Any] | None


class ChatCompletion(msgspec.Struct):
    """With `stream`, pieces of it come as events, the last one `[DONE]`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class CompletionChoice(msgspec.Struct):
    """stop_reason: the stop string or token that ended the answer."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"]
    stop_reason: str | int | None
    logprobs: dict[str, Any] | None


class Completion(msgspec.Struct):
    """With `stream`, pieces of it come as events, the last one `[DONE]`."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class Response(msgspec.Struct):
    """With `stream`, events tell how it grows. output: messages, thoughts and calls."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    model: str
    output: list[dict[str, Any]]
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    previous_response_id: str | None
    store: bool
    usage: dict[str, Any] | None


class DeletedResponse(msgspec.Struct):
    """It is kept no more."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class Caption(msgspec.Struct):
    """Of one picture."""

    index: int
    filename: str
    caption: str
    finish_reason: Literal["stop", "length"]
    usage: Usage


class Captions(msgspec.Struct):
    """In the order of the pictures."""

    object: Literal["list"]
    model: str
    data: list[Caption]


class Embedding(msgspec.Struct):
    """embedding: numbers, or base64 of them in float32, little-endian."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(msgspec.Struct):
    """Tokens of texts."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(msgspec.Struct):
    """In the order of the input."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


class Tokens(msgspec.Struct):
    """max_model_len: tokens that a prompt and its answer may have. token_strs: if asked for."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class Prompt(msgspec.Struct):
    """The text of tokens."""

    prompt: str


class Model(msgspec.Struct):
    """created: when the server started, in seconds of the epoch. max_model_len: tokens that a
    prompt and its answer may have; dimensions: of vectors. features: see docs/api.md."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    input_modalities: list[Literal["text", "image"]]
    output_modalities: list[Literal["text", "embedding"]]
    features: list[str]
    max_model_len: int | msgspec.UnsetType = msgspec.UNSET
    dimensions: int | msgspec.UnsetType = msgspec.UNSET


class Models(msgspec.Struct):
    """That are served."""

    object: Literal["list"]
    data: list[Model]


class File(msgspec.Struct):
    """bytes: its size. created_at: in seconds of the epoch."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"]


class DeletedFile(msgspec.Struct):
    """It is kept no more."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


class Files(msgspec.Struct):
    """A page of them. has_more: whether others come after it."""

    object: Literal["list"]
    data: list[File]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Batch(msgspec.Struct):
    """output_file_id, error_file_id: of what was answered, and of what could not be. Times are in
    seconds of the epoch."""

    id: str
    object: Literal["batch"]
    endpoint: str
    status: Literal[
        "validating",
        "failed",
        "in_progress",
        "finalizing",
        "completed",
        "expired",
        "cancelling",
        "cancelled",
    ]
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    completion_window: str
    created_at: int
    expires_at: int
    request_counts: dict[str, int]
    errors: dict[str, Any] | None
    metadata: dict[str, str] | None


class Batches(msgspec.Struct):
    """A page of them. has_more: whether others come after it."""

    object: Literal["list"]
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Health(msgspec.Struct):
    """All is well."""

    status: Literal["ok"]


class Version(msgspec.Struct):
    """Of Octavo."""

    version: str


class Message(msgspec.Struct):
    """In Anthropic's shape. With `stream`, events tell how it grows. content: blocks."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: Literal[
        "end_turn", "tool_use", "max_tokens", "stop_sequence", "model_context_window_exceeded"
    ]
    stop_sequence: str | None
    usage: dict[str, int]


class InputTokens(msgspec.Struct):
    """Of a prompt."""

    input_tokens: int


class MessagesErrorDetails(msgspec.Struct):
    """The message names the part of the request at fault."""

    type: str
    message: str


class MessagesError(msgspec.Struct):
    """In Anthropic's shape."""

    type: Literal["error"]
    error: MessagesErrorDetails
    request_id: str | None


class OllamaText(msgspec.Struct):
    """In pieces, the last one with `done`. done_reason: "stop", "length" or "load". Durations are
    in nanoseconds."""

    model: str
    created_at: str
    response: str
    done: bool
    done_reason: str
    total_duration: int | msgspec.UnsetType = msgspec.UNSET
    prompt_eval_count: int | msgspec.UnsetType = msgspec.UNSET
    eval_count: int | msgspec.UnsetType = msgspec.UNSET


class OllamaChat(msgspec.Struct):
    """As of a prompt, with a message in place of the response."""

    model: str
    created_at: str
    message: dict[str, Any]
    done: bool
    done_reason: str
    total_duration: int | msgspec.UnsetType = msgspec.UNSET
    prompt_eval_count: int | msgspec.UnsetType = msgspec.UNSET
    eval_count: int | msgspec.UnsetType = msgspec.UNSET


class OllamaVectors(msgspec.Struct):
    """In the order of the input. Durations are in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    prompt_eval_count: int


class OllamaVector(msgspec.Struct):
    """Of one text."""

    embedding: list[float]


class OllamaModel(msgspec.Struct):
    """capabilities: what it can do. template: in Jinja."""

    template: str
    details: dict[str, Any]
    model_info: dict[str, Any]
    capabilities: list[str]


class OllamaModels(msgspec.Struct):
    """There is one."""

    models: list[dict[str, Any]]


class OllamaError(msgspec.Struct):
    """The message names the part of the request at fault."""

    error: str
