"""The checkpoint's tokenizer and chat template, with user text kept from posing as special."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import Tokenizer as BackendTokenizer
from transformers import AutoTokenizer

from .checkpoint import Checkpoint
from .config import ConfigError
from .request_error import RequestError

_PROBE = "octavoprobe"


class Tokenizer:
    """Encodes prompts and decodes outputs. Raises ConfigError if there is no fast tokenizer."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        try:
            folder, options = checkpoint.tokenizer_source
            self._hf: Any = AutoTokenizer.from_pretrained(folder, **options)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{checkpoint.name}: no usable tokenizer: {error}") from error
        backend = getattr(self._hf, "backend_tokenizer", None)
        if backend is None:
            raise ConfigError(f"{checkpoint.name}: the tokenizer has no fast (Rust) version")
        # The same vocabulary, but text such as "<image>" is encoded letter by letter.
        self._plain = BackendTokenizer.from_str(backend.to_str())
        self._plain.encode_special_tokens = True
        added = backend.get_added_tokens_decoder().values()
        special = sorted({t.content for t in added if t.special}, key=len, reverse=True)
        self._special_pattern = re.compile("|".join(map(re.escape, special)) or r"(?!)")
        self._complete: Callable[[str], str] = str
        self._takes_parts = self._template_takes_parts()

    def complete_with(self, complete: Callable[[str], str], chat_template: str | None) -> None:
        """How the model's own processor completes a prompt's text before it is tokenised, and
        the chat template to use if the checkpoint brings none."""
        self._complete = complete
        if chat_template and not self._hf.chat_template:
            self._hf.chat_template = chat_template
            self._takes_parts = self._template_takes_parts()

    def encode(self, text: str) -> list[int]:
        """Token ids of a raw prompt, special tokens recognised, and added unless it begins a
        sequence itself."""
        text = self._complete(text)
        begins = self._hf.bos_token is not None and self._hf.bos_token in text
        ids: list[int] = self._hf(text, add_special_tokens=not begins)["input_ids"]
        return ids

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a piece of a template, special tokens recognised and none added."""
        ids: list[int] = self._hf(text, add_special_tokens=False)["input_ids"]
        return ids

    def encode_word(self, word: str) -> list[list[int]]:
        """The token sequences that spell a word, at the start of a text and within one."""
        spellings = (
            self._plain.encode(text, add_special_tokens=False).ids
            for text in (word, f" {word.lstrip()}")
        )
        return [list(ids) for ids in dict.fromkeys(map(tuple, spellings)) if ids]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text without special tokens."""
        text: str = self._hf.decode(list(token_ids), skip_special_tokens=True)
        return text

    def token_text(self, token_id: int) -> str:
        """One token as text."""
        text: str = self._hf.decode([token_id])
        return text

    def token_id_text(self, token_id: int) -> str:
        """The vocabulary's entry for an id, such as "<image>"."""
        text: str = self._hf.convert_ids_to_tokens(token_id)
        return text

    def encode_chat(self, messages: Sequence[dict[str, Any]], image_token: str | None) -> list[int]:
        """Render the chat template and encode it. Contents are strings or lists of parts.

        Special tokens count only where the template wrote them: a literal one in a user's text
        is encoded as ordinary text. Raises RequestError if the template can't be used.
        """
        if not self._hf.chat_template:
            raise RequestError("the model has no chat template; use a raw prompt", "messages")
        guard = _unused_character(messages)
        guarded = [self._prepare(message, guard, image_token) for message in messages]
        try:
            text: str = self._hf.apply_chat_template(
                guarded, add_generation_prompt=True, tokenize=False
            )
        except Exception as error:
            raise RequestError(f"the chat template refused: {error}", "messages") from error
        text = self._complete(text)
        if guard not in text:
            return self.encode_text(text)
        return self._encode_guarded(text, guard)

    def _encode_guarded(self, text: str, guard: str) -> list[int]:
        ids: list[int] = []
        position = 0
        for match in self._special_pattern.finditer(text):
            ids += self._encode_plain(text[position : match.start()], guard)
            ids.append(self._hf.convert_tokens_to_ids(match.group()))
            position = match.end()
        return ids + self._encode_plain(text[position:], guard)

    def _encode_plain(self, text: str, guard: str) -> list[int]:
        text = text.replace(guard, "")
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids

    def _prepare(
        self, message: dict[str, Any], guard: str, image_token: str | None
    ) -> dict[str, Any]:
        """Break up special tokens in the text, and give the content the template's form."""
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        parts = [
            {**part, "text": self._guard(part["text"], guard)} if part["type"] == "text" else part
            for part in content
        ]
        if self._takes_parts:
            return {**message, "content": parts}
        texts = [p["text"] if p["type"] == "text" else image_token or "" for p in parts]
        return {**message, "content": "\n".join(texts)}

    def _guard(self, text: str, guard: str) -> str:
        return self._special_pattern.sub(lambda m: m.group()[0] + guard + m.group()[1:], text)

    def _template_takes_parts(self) -> bool:
        """Whether the template understands a content that is a list of parts."""
        if not self._hf.chat_template:
            return False
        probe = [{"role": "user", "content": [{"type": "text", "text": _PROBE}]}]
        try:
            text: str = self._hf.apply_chat_template(probe, tokenize=False)
        except Exception:  # noqa: BLE001 - templates raise what they like
            return False
        return _PROBE in text and "'type'" not in text


def _unused_character(messages: Sequence[dict[str, Any]]) -> str:
    """A private-use character that no message holds."""
    text = json.dumps(messages, ensure_ascii=False)
    return next(c for c in map(chr, range(0xE000, 0xF8FF)) if c not in text)
