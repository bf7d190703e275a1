"""What is made of an answer before it is written."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Of a whole text, the first and the last character.
_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "„": "“", "‘": "’", "«": "»", "「": "」"}
_LABEL = re.compile(r"\A(?:caption|description|answer|tags)\s*:\s*", re.IGNORECASE)
_WORD = re.compile(r"\S+")
#: What is left at a cut and leads on to what isn't there any more.
_DANGLING = " \t\r\n,;:-–—"


@dataclass(frozen=True)
class PostProcess:
    """Steps, in this order; none changes a text unless it is asked for.

    strip: drop white space at both ends, quotation marks around the whole text, and a label
        "Caption:", "Description:", "Answer:" or "Tags:" at its beginning.
    max_words: cut after so many words, as white space parts them, and drop a comma, semicolon,
        colon or dash that is left at the cut.
    prefix, suffix: put before and after as they are.
    trigger_words: put before all that, with commas, but for those that the text has already, as
        whole words in whatever case.
    """

    strip: bool = False
    max_words: int | None = None
    prefix: str = ""
    suffix: str = ""
    trigger_words: tuple[str, ...] = ()

    def __call__(self, text: str) -> str:
        if self.strip:
            text = _without_quotes(_LABEL.sub("", _without_quotes(text.strip())))
        if self.max_words is not None:
            text = _first_words(text, self.max_words)
        text = f"{self.prefix}{text}{self.suffix}"
        missing = [word for word in self.trigger_words if not _has_word(text, word)]
        return ", ".join([*missing, text] if text else missing)


def _without_quotes(text: str) -> str:
    """“A” and “B” keeps its marks: they are not around the whole."""
    closing = _QUOTES.get(text[:1])
    if closing is None or len(text) < 2 or text[-1] != closing:
        return text
    inner = text[1:-1]
    if text[0] in inner or closing in inner:
        return text
    return inner.strip()


def _first_words(text: str, count: int) -> str:
    words = list(_WORD.finditer(text))
    if len(words) <= count:
        return text
    return text[: words[count - 1].end()].rstrip(_DANGLING)


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None
