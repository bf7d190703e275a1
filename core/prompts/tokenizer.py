"""The checkpoint's tokenizer and chat template, with user text kept from posing as special."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tokenizers import Tokenizer as BackendTokenizer

from ..checkpoints.checkpoint import Checkpoint
from ..protocol.request_error import RequestError
from .chat_template import ChatTemplate
from .special_text import SpecialTextGuard
from .token_bytes import TokenBytes

_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
#: Arguments of transformers that would change what rendering gives, or whose template it is.
_RESERVED_OPTIONS = frozenset(
    {
        "chat_template",
        "conversation",
        "max_length",
        "padding",
        "processor_kwargs",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "tokenize",
        "tokenizer_kwargs",
        "truncation",
    }
)


class Tokenizer:
    """Encodes prompts and decodes outputs. Raises ConfigError if there is no fast tokenizer."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        parts = checkpoint.tokenizer_parts
        backend = BackendTokenizer.from_str(parts["backend"])
        self._backend = backend
        self._special_tokens: Mapping[str, Any] = parts["special_tokens"]
        self._bos: str | None = self._special_tokens.get("bos_token")
        self._encode, self._decode = self._coders(parts["is_plain"])
        self.token_bytes = TokenBytes(self.decode, backend, tidied=not parts["is_plain"])
        # The same vocabulary, but text such as "<image>" is encoded letter by letter.
        self._plain = BackendTokenizer.from_str(parts["backend"])
        self._plain.encode_special_tokens = True
        added = backend.get_added_tokens_decoder()
        self._ids = {token.content: token_id for token_id, token in added.items()}
        #: Special tokens, as they stand in prompts; the longest first.
        self.special_texts = sorted(
            {t.content for t in added.values() if t.special}, key=len, reverse=True
        )
        self._special_pattern = re.compile("|".join(map(re.escape, self.special_texts)) or r"(?!)")
        self._complete: Callable[[str], str] = str
        #: Bytes of the vocabulary's longest entry: no token stands for more of a text, as the
        #: marks of spaces and of bytes in it take more room than what they stand for.
        self.longest_token = max(len(text.encode()) for text in self._plain.get_vocab())
        self._template: ChatTemplate | None = None
        if parts["chat_template"]:
            self.use_template(parts["chat_template"])

    def complete_with(self, complete: Callable[[str], str], chat_template: str | None) -> None:
        """How the model's own processor completes a prompt's text before it is tokenised, and
        the chat template to use if the checkpoint brings none."""
        self._complete = complete
        if chat_template and self._template is None:
            self.use_template(chat_template)

    def use_template(self, chat_template: str | Mapping[str, str]) -> None:
        """Render chats by this template; see ChatTemplate."""
        self._template = ChatTemplate(chat_template, self._special_tokens)

    @property
    def chat_template_text(self) -> str:
        """The chat template, or all of them where there are several; "" if there is none."""
        source = self._template.source if self._template is not None else ""
        return source if isinstance(source, str) else "\n".join(source.values())

    @property
    def answer_opening(self) -> str:
        """What the chat template writes where an answer is to follow; see ChatTemplate."""
        return self._template.answer_opening if self._template is not None else ""

    @property
    def thinking_switch(self) -> str | None:
        """See ChatTemplate."""
        return self._template.thinking_switch if self._template is not None else None

    @property
    def takes_tools(self) -> bool:
        """Whether the chat template writes of tools."""
        return self._template is not None and self._template.takes_tools

    def prepare(self) -> None:
        """Do now what would else be done for the first request, and takes up to a second."""
        self.token_bytes.prepare()
        if self._template is not None:
            _ = self._template.takes_parts, self._template.takes_tools

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a raw prompt, special tokens recognised, and added, if they are to be,
        unless it begins a sequence itself."""
        text = self._complete(text)
        begins = self._bos is not None and self._bos in text
        return self._encode(text, add_special_tokens and not begins)

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a piece of a template, special tokens recognised and none added."""
        return self._encode(text, False)

    def encode_word(self, word: str) -> list[list[int]]:
        """The token sequences that spell a word, at the start of a text and within one."""
        spellings = (
            self._plain.encode(text, add_special_tokens=False).ids
            for text in (word, f" {word.lstrip()}")
        )
        return [list(ids) for ids in dict.fromkeys(map(tuple, spellings)) if ids]

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text, by default without special tokens."""
        return self._decode(token_ids, skip_special_tokens)

    def token_id_text(self, token_id: int) -> str:
        """The vocabulary's entry for an id, such as "<image>"."""
        return self._backend.id_to_token(token_id) or ""

    def encode_chat(
        self,
        messages: Sequence[dict[str, Any]],
        image_token: str | None,
        template_options: Mapping[str, Any] = _NO_OPTIONS,
    ) -> list[int]:
        """Render the chat template and encode it. Contents are strings, lists of parts, or None.

        template_options: what the template is given besides, such as tools.
        Special tokens count only where the template wrote them: a literal one in a user's text
        is encoded as ordinary text. Raises RequestError if the template can't be used.
        """
        if self._template is None:
            raise RequestError("the model has no chat template; use a raw prompt", "messages")
        reserved = _RESERVED_OPTIONS & set(template_options)
        if reserved:
            raise RequestError(
                f"chat_template_kwargs can't set {', '.join(sorted(reserved))}",
                "chat_template_kwargs",
            )
        guard = SpecialTextGuard(self._special_pattern, messages, template_options)
        takes_parts = self._template.takes_parts
        shaped = [_shape(guard.protect(m), image_token, takes_parts) for m in messages]
        options = {"add_generation_prompt": True, **guard.protect(template_options)}
        try:
            text = self._template.render(shaped, options)
        except Exception as error:
            raise RequestError(f"the chat template refused: {error}", "messages") from error
        text = self._complete(text)
        if guard.character not in text:
            return self.encode_text(text)
        return self._encode_guarded(text, guard.character)

    def _encode_guarded(self, text: str, guard: str) -> list[int]:
        ids: list[int] = []
        position = 0
        for match in self._special_pattern.finditer(text):
            ids += self._encode_plain(text[position : match.start()], guard)
            ids.append(self._ids[match.group()])
            position = match.end()
        return ids + self._encode_plain(text[position:], guard)

    def _encode_plain(self, text: str, guard: str) -> list[int]:
        text = text.replace(guard, "")
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids

    def to_transformers(self) -> Any:
        """A tokenizer of transformers' own from the same files, with the chat template in use.
        That imports transformers, in seconds."""
        made = self._checkpoint.transformers_tokenizer()
        if self._template is not None:
            made.chat_template = self._template.source
        return made

    def _coders(
        self, is_plain: bool
    ) -> tuple[Callable[[str, bool], list[int]], Callable[[Sequence[int], bool], str]]:
        """How to encode, with or without added special tokens, and to decode, with or without
        special tokens skipped."""
        if is_plain:
            backend = self._backend
            return (
                lambda text, add: list(backend.encode(text, add_special_tokens=add).ids),
                lambda ids, skip: str(backend.decode(ids, skip_special_tokens=skip)),
            )
        # For the few that add code to the backend.
        made = self._checkpoint.transformers_tokenizer()
        return (
            lambda text, add: list(made(text, add_special_tokens=add)["input_ids"]),
            lambda ids, skip: str(made.decode(ids, skip_special_tokens=skip)),
        )


def _shape(message: dict[str, Any], image_token: str | None, takes_parts: bool) -> dict[str, Any]:
    """A message whose content has the template's form: parts, or text."""
    content = message["content"]
    if content is None:
        return message
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if takes_parts:
        return {**message, "content": parts}
    texts = [p["text"] if p["type"] == "text" else image_token or "" for p in parts]
    return {**message, "content": "\n".join(texts)}
