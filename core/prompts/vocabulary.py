"""What a grammar is told of a model's tokens: the bytes that each adds to an answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..checkpoints.checkpoint import Checkpoint
from .token_bytes import TokenBytes
from .tokenizer import Tokenizer


def obstacle(token_bytes: TokenBytes) -> str | None:
    """Why answers of a model can't be kept to grammars, if so."""
    if not token_bytes.context_free:
        return "what a token of this model adds to an answer depends on the tokens around it"
    if not token_bytes.has_bytes:
        return "this model's tokens can't spell every text"
    return None


@dataclass(frozen=True)
class Vocabulary:
    """tokens: the bytes of each token within an answer, by id, none for those that are never part
    of one: special tokens, and the model's that the tokenizer doesn't know. Behind the model's
    size of them there are more, of bytes that a token has at the beginning of an answer only, such
    as a word without the space before it.
    first: of each of the model's ids, the index among `tokens` of what it is as an answer's
    first; None if all are the same there.
    size: of the model's vocabulary.
    """

    tokens: list[bytes]
    first: NDArray[np.int64] | None
    size: int

    @classmethod
    def read(cls, checkpoint: Checkpoint, size: int) -> Vocabulary:
        """Of a model with so many tokens; takes a second for large ones. Raises ValueError if
        there is an obstacle."""
        return cls.of(Tokenizer(checkpoint).token_bytes, size)

    @classmethod
    def of(cls, token_bytes: TokenBytes, size: int) -> Vocabulary:
        """Raises ValueError if there is an obstacle."""
        why = obstacle(token_bytes)
        if why is not None or token_bytes.spellings is None:
            raise ValueError(why)
        at_start, within = token_bytes.spellings
        tokens = [b""] * size
        for spelled, token_ids in within.items():
            for token_id in token_ids:
                if token_id < size:
                    tokens[token_id] = spelled
        places: dict[bytes, int] = {}
        for index, spelled in enumerate(tokens):
            places.setdefault(spelled, index)
        first = np.arange(size)
        for spelled, token_ids in at_start.items():
            for token_id in token_ids:
                if token_id < size and tokens[token_id] != spelled:
                    if spelled not in places:
                        places[spelled] = len(tokens)
                        tokens.append(spelled)
                    first[token_id] = places[spelled]
        same = bool((first == np.arange(size)).all())
        return cls(tokens, None if same else first, size)
