"""What each token of a vocabulary adds to a text: its bytes, and a name that no other token has."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from tokenizers import Tokenizer as BackendTokenizer

_INCOMPLETE = "\ufffd"
_BYTE_ENTRY = re.compile(r"<0x([0-9A-Fa-f]{2})>")
#: Decoders under which a token's text depends on nothing but whether it is the text's first.
_CONTEXT_FREE = frozenset(
    {"ByteFallback", "ByteLevel", "Fuse", "Metaspace", "Replace", "Strip", "WordPiece"}
)
#: Token ids by the bytes that they stand for.
Spellings = dict[bytes, list[int]]
#: Where neighbours matter there are too many pairs to keep them all.
_CACHED = 2**17


@dataclass
class TextSoFar:
    """Where the next token of a text goes: after the last one that the text shows, if any."""

    last_token_id: int | None = None


class TokenBytes:
    """Bytes and names of tokens, each worked out once.

    The bytes of a text's tokens join to the UTF-8 of the text, in which bytes that are no
    character stand as U+FFFD.

    decode: token ids to text without special tokens; backend: the tokenizer that it is of;
    tidied: whether spaces are taken out of the text after the backend decoded it.
    """

    def __init__(
        self, decode: Callable[[Sequence[int]], str], backend: BackendTokenizer, tidied: bool
    ) -> None:
        self._decode = decode
        self._backend = backend
        kinds = set(_decoder_kinds(backend))
        self._byte_level = "ByteLevel" in kinds
        self._byte_fallback = "ByteFallback" in kinds
        self._context_free = not tidied and kinds <= _CONTEXT_FREE
        added = backend.get_added_tokens_decoder().items()
        self._special = {token_id for token_id, token in added if token.special}
        self._cached_bytes = lru_cache(_CACHED)(self._bytes_after)
        self._cached_text = lru_cache(_CACHED)(lambda token_id: decode([token_id]))

    def prepare(self) -> None:
        """Name all tokens now, which takes a second for large vocabularies, rather than when the
        first name is asked for."""
        _ = self._names

    def name(self, token_id: int) -> str:
        """The token's text within a text; OpenAI's "bytes:\\xe4\\xbd" for parts of a character;
        the vocabulary's entry for a special token, and where the text is another token's too."""
        return self._names.get(token_id) or f"token_id:{token_id}"

    def bytes_in(self, text: TextSoFar, token_id: int) -> list[int] | None:
        """What the token would add to a text; None if it would be left out."""
        if not self._is_shown(token_id):
            return None
        context = text.last_token_id
        if self._context_free and context is not None:
            context = self._anchor
        return self._cached_bytes(context, token_id)

    @property
    def context_free(self) -> bool:
        """Whether what a token adds depends on nothing but whether it is a text's first, so that
        there are `spellings`."""
        return self._context_free and self._anchor is not None

    @property
    def has_bytes(self) -> bool:
        """Whether there are tokens for the bytes that no other spells."""
        return self._byte_level or self._byte_fallback

    @cached_property
    def spellings(self) -> tuple[Spellings, Spellings] | None:
        """The tokens that are shown, by the bytes that they add to a text: as its first, and later.
        None if that depends on other tokens of the text. The first use takes seconds for large
        vocabularies."""
        if not self.context_free:
            return None
        return self._spellings(None), self._spellings(self._anchor)

    def _spellings(self, context: int | None) -> Spellings:
        found: Spellings = {}
        for token_id in self._entries:
            if token_id not in self._special:
                found.setdefault(bytes(self._bytes_after(context, token_id)), []).append(token_id)
        return found

    def after(self, token_ids: Sequence[int]) -> TextSoFar:
        """A text of these tokens."""
        text = TextSoFar()
        for token_id in token_ids:
            self.append(text, token_id)
        return text

    def append(self, text: TextSoFar, token_id: int) -> None:
        """Move on behind a token."""
        if self._is_shown(token_id):
            text.last_token_id = token_id

    def _is_shown(self, token_id: int) -> bool:
        return token_id not in self._special and token_id in self._entries

    def _bytes_after(self, context: int | None, token_id: int) -> list[int]:
        text = self._text_after(context, token_id)
        raw = self._raw_bytes(token_id) if _INCOMPLETE in text else None
        return list(text.encode() if raw is None else raw)

    def _text_after(self, context: int | None, token_id: int) -> str:
        if context is None:
            return self._decode([token_id])
        # The same cut as that of the text that streams.
        before, whole = self._cached_text(context), self._decode([context, token_id])
        return whole[len(before) :]

    def _raw_bytes(self, token_id: int) -> bytes | None:
        """Those that the vocabulary's entry stands for, if it stands for bytes."""
        entry = self._entries[token_id]
        if self._byte_level and all(character in _LETTERS for character in entry):
            return bytes(_LETTERS[character] for character in entry)
        if self._byte_fallback and (match := _BYTE_ENTRY.fullmatch(entry)):
            return bytes.fromhex(match[1])
        return None

    @cached_property
    def _entries(self) -> dict[int, str]:
        vocabulary = self._backend.get_vocab(with_added_tokens=True)
        return dict(sorted((token_id, entry) for entry, token_id in vocabulary.items()))

    @cached_property
    def _anchor(self) -> int | None:
        """A token that is a word, to see what others add to a text that has begun."""
        words = (
            token_id
            for token_id, entry in self._entries.items()
            if token_id not in self._special
            and not _BYTE_ENTRY.fullmatch(entry)
            and self._decode([token_id]).isalnum()
        )
        return next(words, None)

    @cached_property
    def _names(self) -> dict[int, str]:
        names = {token_id: self._plain_name(token_id) for token_id in self._entries}
        sharers: dict[str, list[int]] = {}
        for token_id, name in names.items():
            sharers.setdefault(name, []).append(token_id)
        for name, token_ids in sharers.items():
            if name and len(token_ids) == 1:
                continue
            # Bytes give way to a word of one letter, and all to what is written like that.
            owner = min(token_ids, key=lambda i: (self._entries[i] != name, self._is_byte(i), i))
            for token_id in token_ids:
                if token_id != owner or not name:
                    names[token_id] = self._unshared_name(token_id)
        return names

    def _plain_name(self, token_id: int) -> str:
        """One that other tokens may share."""
        if token_id in self._special:
            return self._entries[token_id]
        text = self._text_after(self._anchor, token_id)
        raw = self._raw_bytes(token_id) if _INCOMPLETE in text else None
        return text if raw is None or raw == text.encode() else _bytes_name(raw)

    def _unshared_name(self, token_id: int) -> str:
        raw = self._raw_bytes(token_id) if self._is_byte(token_id) else None
        return self._entries[token_id] if raw is None else _bytes_name(raw)

    def _is_byte(self, token_id: int) -> bool:
        return self._byte_fallback and bool(_BYTE_ENTRY.fullmatch(self._entries[token_id]))


def _bytes_name(raw: bytes) -> str:
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def _decoder_kinds(backend: BackendTokenizer) -> Iterator[str]:
    """The types of the decoder and of those that it consists of."""

    def walk(decoder: dict[str, Any]) -> Iterator[str]:
        if decoder["type"] == "Sequence":
            for part in decoder["decoders"]:
                yield from walk(part)
        else:
            yield decoder["type"]

    if backend.decoder is not None:
        yield from walk(json.loads(backend.decoder.__getstate__()))


def _byte_level_letters() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones of Latin-1 for themselves, those from U+0100 on
    for the others in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted(set(range(0x100)) - set(printable))
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


_LETTERS = _byte_level_letters()
