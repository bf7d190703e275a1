"""Positions in time, height and width for prompts with images (M-RoPE, arXiv:2409.12191)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...protocol.messages import MediaSpan


class GridPositions:
    """Text advances all three positions at once. An image stays at one time; its rows and columns
    advance the other two; and what follows begins after the larger of them.

    grids: rows and columns of each image's features, by media key.
    """

    def __init__(
        self, spans: Sequence[MediaSpan], grids: Mapping[str, tuple[int, int]], num_tokens: int
    ) -> None:
        pieces: list[NDArray[np.int64]] = []
        index = position = 0
        for span in spans:
            pieces.append(_text(position, span.offset - index))
            position += span.offset - index
            rows, columns = grids[span.media_key]
            pieces.append(position + np.indices((1, rows, columns)).reshape(3, -1))
            position += max(rows, columns)
            index = span.end
        pieces.append(_text(position, num_tokens - index))
        self._prompt = np.concatenate(pieces, axis=1)
        self._next = position + num_tokens - index

    def slice(self, start: int, end: int) -> NDArray[np.int64]:
        """[3, end - start] positions of the tokens [start, end), generated ones included."""
        num_tokens = self._prompt.shape[1]
        first = max(start, num_tokens)
        generated = _text(self._next + first - num_tokens, max(0, end - first))
        return np.concatenate((self._prompt[:, start:end], generated), axis=1)


def _text(position: int, length: int) -> NDArray[np.int64]:
    return np.broadcast_to(np.arange(position, position + length), (3, length))
