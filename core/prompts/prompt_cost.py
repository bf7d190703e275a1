"""What writing and tokenising a chat's prompt may cost, told before any of it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..protocol.request_error import RequestError


class PromptBudget:
    """What a prompt that fits the context can have at most: no token stands for more bytes than
    the longest of the vocabulary, and no message or part for less than a token.

    num_bytes: of text that was counted.
    """

    def __init__(self, max_model_len: int, longest_token: int) -> None:
        self._max_model_len = max_model_len
        self._longest_token = longest_token
        self._max_bytes = max_model_len * longest_token
        self._num_parts = 0
        self.num_bytes = 0

    def spend(
        self, messages: Sequence[Mapping[str, Any]], template_options: Mapping[str, Any]
    ) -> int:
        """The bytes of all text that a chat's prompt is written of, what was counted before too.

        Raises RequestError that names the message, the part or the option that goes beyond.
        """
        for i, message in enumerate(messages):
            self._spend_message(message, f"messages[{i}]")
        for name, value in template_options.items():
            param = name if name == "tools" else f"chat_template_kwargs.{name[:64]}"
            self.spend_text(name, param)
            self.spend_text(value, param)
        return self.num_bytes

    def spend_text(self, value: Any, param: str) -> None:
        """Count a value's texts. Raises RequestError."""
        for num_bytes in _sizes(value):
            self.num_bytes += num_bytes
            if self.num_bytes > self._max_bytes:
                raise RequestError(
                    f"with {param} the request has more than {self._max_bytes} bytes of text: "
                    f"more than the context of {self._max_model_len} tokens can hold, as none "
                    f"has more than {self._longest_token} bytes",
                    param,
                )

    def _spend_message(self, message: Mapping[str, Any], param: str) -> None:
        self._count_part(param)
        for name, value in message.items():
            if name != "content" or not isinstance(value, list):
                self.spend_text(value, f"{param}.{name}")
                continue
            for j, part in enumerate(value):
                self._count_part(f"{param}.content[{j}]")
                self.spend_text(part.get("text"), f"{param}.content[{j}]")

    def _count_part(self, param: str) -> None:
        self._num_parts += 1
        if self._num_parts > self._max_model_len:
            raise RequestError(
                f"with {param} the request has more messages and parts than the context has "
                f"tokens, {self._max_model_len}",
                param,
            )


def _sizes(value: Any) -> Iterator[int]:
    """Bytes of each text in a JSON value; of what else it holds, less than what its JSON has."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))
        elif isinstance(value, Mapping):
            yield len(value)
            pending += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            yield len(value)
            pending += value
