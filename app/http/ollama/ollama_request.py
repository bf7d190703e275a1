"""The bodies of POST /api/chat and /api/generate."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from ....core.protocol.request_error import RequestError
from ...serving.server_state import ServerState
from ...serving.thinking import AskedThinking
from ..chat.chat_request import ReshapedChat
from ..completions.completion_request import CompletionRequest
from .options import OPTIONS


class OllamaRequest(msgspec.Struct, kw_only=True):
    """The fields that both have; None takes the model's default.

    format: the form of the answer, "json" or a JSON schema. options: see options.py.
    think: whether the model thinks before it answers, where its chat template has a switch.
    """

    model: str
    format: Literal["", "json"] | dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    stream: bool = True
    think: bool | None = None
    logprobs: bool = False
    top_logprobs: int | None = None

    def text_fields(self) -> dict[str, Any]:
        """Those of a chat or a completion that say how the answer is drawn. Raises HttpError."""
        drawn = OPTIONS.read(self.options or {}, "options.").text_fields()
        return {**drawn, "response_format": self._response_format()}

    def chat_fields(self, server: ServerState) -> dict[str, Any]:
        """Those of a chat, but for its messages. Raises HttpError and RequestError."""
        fields = {"logprobs": self.logprobs, "top_logprobs": self.top_logprobs}
        if self.think is not None:
            fields |= AskedThinking.read(server, self.think, "think").chat_fields({})
        return {**self.text_fields(), **fields}

    def _response_format(self) -> dict[str, Any] | None:
        if not self.format and not isinstance(self.format, dict):
            return None
        if self.format == "json":
            return {"type": "json_object"}
        return {"type": "json_schema", "json_schema": {"schema": self.format}}


class OllamaChatRequest(OllamaRequest, kw_only=True):
    """messages: see chat_messages.py; none at all has the model loaded. tools: in OpenAI's shape,
    which is Ollama's, too."""

    messages: list[Any] = []
    tools: list[Any] | None = None

    def chat_fields(self, server: ServerState) -> dict[str, Any]:
        """See OllamaRequest."""
        return {**super().chat_fields(server), "tools": self.tools}


class OllamaGenerateRequest(OllamaRequest, kw_only=True):
    """prompt: what is said in a chat of one message, with system before it; none at all has the
    model loaded. raw: whether it is gone on with as it is."""

    prompt: str = ""
    system: str = ""
    images: list[Any] = []
    raw: bool = False

    def messages(self) -> list[dict[str, Any]]:
        """Of the chat that is asked for."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.prompt, "images": self.images}]

    def to_completion(self, max_tokens: int) -> OllamaCompletion:
        """The completion that is asked for by `raw`. max_tokens: if the request doesn't say. Raises
        HttpError and RequestError."""
        for name in ("system", "images", "think", "top_logprobs" if not self.logprobs else ""):
            if name and getattr(self, name):
                why = "needs logprobs to be true" if name == "top_logprobs" else _NOT_RAW
                raise RequestError(f"{name} {why}", name)
        fields = self.text_fields()
        if fields["max_tokens"] is None:
            fields["max_tokens"] = max_tokens
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        return OllamaCompletion(prompt=self.prompt, logprobs=logprobs, **fields)


_NOT_RAW = "can't be joined with raw, which takes the prompt as the model reads it"


class OllamaCompletion(CompletionRequest, dict=True):
    """See ReshapedChat."""

    max_stops: ClassVar[int] = ReshapedChat.max_stops
    cuts_to_context: ClassVar[bool] = ReshapedChat.cuts_to_context
