"""The text that perplexity is measured on, cut into windows of tokens.

It is "The War of the Worlds" by H. G. Wells, who died in 1946; it was published in 1898 and is in
the public domain. These are its 60,000 words by Project Gutenberg's e-text 36, without that
project's own words around them, with a line for each paragraph.
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from pathlib import Path

from ...core.prompts.tokenizer import Tokenizer
from ...core.protocol.config import ConfigError

_NOVEL = Path(__file__).with_name("war_of_the_worlds.txt.xz")
#: Tokens of a window, unless the model takes fewer.
WINDOW = 1024


@dataclass(frozen=True)
class Windows:
    """Parts of a text that are scored on their own, all of one length.

    token_ids: of each part. context: how many of its first tokens are not scored.
    """

    token_ids: list[list[int]]
    context: int

    @property
    def num_tokens(self) -> int:
        """Of all windows."""
        return sum(map(len, self.token_ids))


def read_novel() -> str:
    """The whole text."""
    return lzma.decompress(_NOVEL.read_bytes()).decode()


def cut_windows(text: str, tokenizer: Tokenizer, length: int, num_tokens: int | None) -> Windows:
    """As many whole windows of `length` tokens as num_tokens allow, or as the text has. Each begins
    as a sequence of the model does, with a token for that if it has one.

    Raises ConfigError if num_tokens are less than a window, or more than there are.
    """
    begin = _beginning(tokenizer)
    ids, step = tokenizer.encode_text(text), length - len(begin)
    most = len(ids) // step
    if num_tokens is not None and not length <= num_tokens <= most * length:
        raise ConfigError(
            f"--tokens {num_tokens}: must be from {length}, one window, to {most * length}, what "
            "the text has in whole windows"
        )
    count = most if num_tokens is None else num_tokens // length
    starts = range(0, count * step, step)
    windows = [begin + ids[start : start + step] for start in starts]
    return Windows(windows, max(1, len(begin)))


def _beginning(tokenizer: Tokenizer) -> list[int]:
    """Tokens that the tokenizer puts before a text."""
    marked, plain = tokenizer.encode("a"), tokenizer.encode_text("a")
    return marked[: marked.index(plain[0])]
