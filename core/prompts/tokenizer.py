"""The checkpoint's tokenizer and chat template, with user text kept from posing as special."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tokenizers import Tokenizer as BackendTokenizer
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ..checkpoints.checkpoint import Checkpoint
from ..protocol.config import ConfigError
from ..protocol.request_error import RequestError
from .special_text import SpecialTextGuard
from .token_bytes import TokenBytes

_PROBE = "octavoprobe"
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
        try:
            folder, options = checkpoint.transformers_source
            self._hf: Any = AutoTokenizer.from_pretrained(folder, **options)
        except Exception as error:  # tokenizers raises nothing narrower
            raise ConfigError(f"{checkpoint.name}: no usable tokenizer: {error}") from error
        _check_vocabulary(self._hf, folder, checkpoint.name, options)
        backend = getattr(self._hf, "backend_tokenizer", None)
        if backend is None:
            raise ConfigError(f"{checkpoint.name}: the tokenizer has no fast (Rust) version")
        # The same text as transformers' own way, which takes several times as long.
        alike = _decodes_alike(self._hf, backend)
        self._decode: Callable[..., Any] = backend.decode if alike else self._hf.decode
        self.token_bytes = TokenBytes(self.decode, backend, tidied=not alike)
        # The same vocabulary, but text such as "<image>" is encoded letter by letter.
        self._plain = BackendTokenizer.from_str(backend.to_str())
        self._plain.encode_special_tokens = True
        added = backend.get_added_tokens_decoder().values()
        special = sorted({t.content for t in added if t.special}, key=len, reverse=True)
        self._special_pattern = re.compile("|".join(map(re.escape, special)) or r"(?!)")
        self._complete: Callable[[str], str] = str
        #: Bytes of the vocabulary's longest entry: no token stands for more of a text, as the
        #: marks of spaces and of bytes in it take more room than what they stand for.
        self.longest_token = max(len(text.encode()) for text in self._plain.get_vocab())
        self._takes_parts = self._template_takes_parts()

    def complete_with(self, complete: Callable[[str], str], chat_template: str | None) -> None:
        """How the model's own processor completes a prompt's text before it is tokenised, and
        the chat template to use if the checkpoint brings none."""
        self._complete = complete
        if chat_template and not self._hf.chat_template:
            self.use_template(chat_template)

    def use_template(self, chat_template: str) -> None:
        """Render chats by this template."""
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
        text: str = self._decode(token_ids, skip_special_tokens=True)
        return text

    def token_id_text(self, token_id: int) -> str:
        """The vocabulary's entry for an id, such as "<image>"."""
        text: str = self._hf.convert_ids_to_tokens(token_id)
        return text

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
        if not self._hf.chat_template:
            raise RequestError("the model has no chat template; use a raw prompt", "messages")
        reserved = _RESERVED_OPTIONS & set(template_options)
        if reserved:
            raise RequestError(
                f"chat_template_kwargs can't set {', '.join(sorted(reserved))}",
                "chat_template_kwargs",
            )
        guard = SpecialTextGuard(self._special_pattern, messages, template_options)
        shaped = [self._shape(guard.protect(message), image_token) for message in messages]
        options = {"add_generation_prompt": True, **guard.protect(template_options)}
        try:
            text: str = self._hf.apply_chat_template(shaped, tokenize=False, **options)
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
            ids.append(self._hf.convert_tokens_to_ids(match.group()))
            position = match.end()
        return ids + self._encode_plain(text[position:], guard)

    def _encode_plain(self, text: str, guard: str) -> list[int]:
        text = text.replace(guard, "")
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids

    def _shape(self, message: dict[str, Any], image_token: str | None) -> dict[str, Any]:
        """Give the content the template's form."""
        content = message["content"]
        if content is None:
            return message
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if self._takes_parts:
            return {**message, "content": parts}
        texts = [p["text"] if p["type"] == "text" else image_token or "" for p in parts]
        return {**message, "content": "\n".join(texts)}

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


def _check_vocabulary(tokenizer: Any, folder: Path, name: str, options: Mapping[str, str]) -> None:
    """Raises ConfigError for a folder without a vocabulary: some of transformers' tokenizers are
    made without one, and read every text as nothing or as unknown."""
    names = {"tokenizer.json", "tokenizer.model", *tokenizer.vocab_files_names.values()}
    if not options and not any((folder / file).is_file() for file in names):
        raise ConfigError(
            f"{name}: no usable tokenizer: {folder} has none of {', '.join(sorted(names))}; copy "
            "the tokenizer's files from the model's repository"
        )


def _decodes_alike(tokenizer: Any, backend: BackendTokenizer) -> bool:
    """Whether transformers adds nothing to what the backend decodes."""
    kind: Any = type(tokenizer)
    own = any(
        getattr(kind, name) is not getattr(PreTrainedTokenizerFast, name)
        for name in ("decode", "_decode")
    )
    # transformers cleans up no BPE tokenizer's text unless it is told twice.
    cleans_up = tokenizer.clean_up_tokenization_spaces and (
        not isinstance(backend.model, BPE)
        or tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output
    )
    return not own and not cleans_up
