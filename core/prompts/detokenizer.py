"""Turns a stream of tokens into text that never has to be taken back."""

from __future__ import annotations

from collections.abc import Sequence

from .tokenizer import Tokenizer

_INCOMPLETE = "\ufffd"


class Detokenizer:
    """Text of one answer. A character that spans tokens is held back until it is whole.

    Only the tokens after the last safe point are decoded again at each step, with those before
    it as context, as a tokenizer may join or space tokens by what precedes them.

    before: tokens that the text goes on with, not part of it. Without any it begins as texts do:
    some tokenizers leave the first word's space out.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        skip_special_tokens: bool = True,
        before: Sequence[int] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        # Those before the last safe point and after it; what came earlier is not kept.
        self._context = list(before)
        self._pending: list[int] = []
        self._context_text = self._decode(self._context) if before else ""
        self.text = ""

    def add(self, token_ids: Sequence[int], last: bool) -> None:
        """Append tokens; `last` also gives out what would be held back."""
        self._pending += token_ids
        if not self._pending:
            return
        decoded = self._decode(self._context + self._pending)
        context_length = len(self._context_text)
        if len(decoded) > context_length and (last or not decoded.endswith(_INCOMPLETE)):
            self.text += decoded[context_length:]
            self._context, self._pending = self._pending, []
            self._context_text = self._decode(self._context)

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self._tokenizer.decode(token_ids, self._skip_special_tokens)
