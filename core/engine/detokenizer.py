"""Turns a stream of tokens into text that never has to be taken back."""

from __future__ import annotations

from collections.abc import Sequence

from .tokenizer import Tokenizer

_INCOMPLETE = "\ufffd"


class Detokenizer:
    """Text of one answer. A character that spans tokens is held back until it is whole.

    Only the tokens after the last safe point are decoded again at each step, with those before
    it as context, as a tokenizer may join or space tokens by what precedes them.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._token_ids: list[int] = []
        self._context_start = 0
        self._safe_end = 0
        self.text = ""

    def add(self, token_ids: Sequence[int], last: bool) -> None:
        """Append tokens; `last` also gives out what would be held back."""
        self._token_ids += token_ids
        context = self._tokenizer.decode(self._token_ids[self._context_start : self._safe_end])
        decoded = self._tokenizer.decode(self._token_ids[self._context_start :])
        if len(decoded) > len(context) and (last or not decoded.endswith(_INCOMPLETE)):
            self.text += decoded[len(context) :]
            self._context_start, self._safe_end = self._safe_end, len(self._token_ids)
