"""Log-probabilities in the form of OpenAI's completions: lists that go side by side."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from ....core.prompts.token_bytes import TextSoFar, TokenBytes
from ....core.protocol.messages import TokenLogprobs


class TokenTable:
    """Of one choice's text, from its beginning on. with_special: whether special tokens stand in
    the text of answers."""

    def __init__(self, tokens: TokenBytes, with_special: bool) -> None:
        self._tokens = tokens
        self._with_special = with_special
        self._context = TextSoFar()
        # Characters, and the bytes of one that is not whole yet.
        self._num_characters = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def of_prompt(
        self, text: str, token_ids: Sequence[int], logprobs: Sequence[TokenLogprobs | None]
    ) -> dict[str, Any]:
        """Of the prompt, which the text begins with. What was added to it takes no room there."""
        offsets = []
        for token_id in token_ids:
            offsets.append(min(self._num_characters, len(text)))
            name = self._tokens.name(token_id)
            stands = text.startswith(name, self._num_characters)
            self._append(token_id, name if stands else "")
        self._num_characters = len(text)
        self._decoder.reset()
        return self._table(token_ids, logprobs, offsets)

    def go_on_with(self, token_ids: Sequence[int]) -> None:
        """What follows is an answer that goes on with these tokens."""
        self._context = self._tokens.after(token_ids)

    def of_answer(
        self, token_ids: Sequence[int], logprobs: Sequence[TokenLogprobs], ended_by_token: bool
    ) -> dict[str, Any]:
        """Of more of the answer. ended_by_token: whether the last one is not in the text."""
        offsets = []
        for i, token_id in enumerate(token_ids, start=1):
            offsets.append(self._num_characters)
            stands = self._with_special and not (ended_by_token and i == len(token_ids))
            self._append(token_id, self._tokens.name(token_id) if stands else "")
        return self._table(token_ids, logprobs, offsets)

    def _append(self, token_id: int, special_text: str) -> None:
        """special_text: what the token adds to the text if it is a special one."""
        added = self._tokens.bytes_in(self._context, token_id)
        if added is None:
            self._num_characters += len(special_text)
        else:
            self._num_characters += len(self._decoder.decode(bytes(added)))
            self._tokens.append(self._context, token_id)

    def _table(
        self,
        token_ids: Sequence[int],
        logprobs: Sequence[TokenLogprobs | None],
        offsets: list[int],
    ) -> dict[str, Any]:
        return {
            "tokens": [self._tokens.name(token_id) for token_id in token_ids],
            "token_logprobs": [None if entry is None else entry.chosen for entry in logprobs],
            "top_logprobs": [
                None if entry is None else self._top(token_id, entry)
                for token_id, entry in zip(token_ids, logprobs, strict=True)
            ],
            "text_offset": offsets,
        }

    def _top(self, token_id: int, entry: TokenLogprobs) -> dict[str, float]:
        """The likeliest tokens, and the one that stands there."""
        top = zip(entry.top_ids, entry.top_logprobs, strict=True)
        names = {self._tokens.name(other): logprob for other, logprob in top}
        return names | {self._tokens.name(token_id): entry.chosen}
