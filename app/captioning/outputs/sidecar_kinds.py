"""Which sidecars there are, where other tools look for them, and whose texts are in them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ....core.protocol.errors import RequestError
from .xmp import DESCRIPTION, SUBJECT

JSON = ".json"
XMP = ".xmp"
_TEXTS = (".txt", ".caption")
_ENDINGS = (*_TEXTS, JSON, XMP)
#: Prompts with a meaning in XMP: keywords, and the description if there are several others.
_SUBJECT_PROMPT = "tags"
_DESCRIPTION_PROMPT = "caption"


@dataclass(frozen=True, slots=True)
class SidecarKind:
    """ending: of its files. text: the prompt whose text it is, or the description in it.
    keywords: the prompt whose text is keywords in it, separated by commas."""

    ending: str
    text: str | None = None
    keywords: str | None = None

    def path(self, picture: str) -> str:
        """Of a picture's sidecar: kohya-ss and other trainers replace the picture's ending;
        darktable and digiKam keep it."""
        return (picture if self.ending == XMP else self.stem(picture)) + self.ending

    @staticmethod
    def stem(picture: str) -> str:
        """What the sidecars of pictures have in common that differ by their ending only."""
        return os.path.splitext(picture)[0]

    @property
    def properties(self) -> set[str]:
        """Those of XMP that are written."""
        named = {DESCRIPTION: self.text, SUBJECT: self.keywords}
        return {name for name, prompt in named.items() if prompt is not None}

    def subjects(self, texts: Mapping[str, str]) -> list[str]:
        """The keywords among a row's texts, each once."""
        keywords = texts[self.keywords].split(",") if self.keywords is not None else ()
        return list(dict.fromkeys(word.strip() for word in keywords if word.strip()))


def parse_sidecars(texts: Sequence[str], prompts: Sequence[str]) -> tuple[SidecarKind, ...]:
    """Endings, and whose text, as in ".txt=tags". Raises RequestError."""
    kinds = tuple(_parse(text, prompts) for text in texts)
    endings = [kind.ending for kind in kinds]
    for ending in endings:
        if endings.count(ending) > 1:
            raise RequestError(f"--sidecar {ending} is there twice")
    return kinds


def _parse(text: str, prompts: Sequence[str]) -> SidecarKind:
    ending, _, prompt = text.partition("=")
    ending = "." + ending.removeprefix(".").lower()
    if ending not in _ENDINGS:
        raise RequestError(
            f"--sidecar {text}: there are no such files; there are {', '.join(_ENDINGS)}"
        )
    if prompt and ending == JSON:
        raise RequestError(f"--sidecar {text}: {JSON} has the fields that --fields names")
    if prompt and prompt not in prompts:
        raise RequestError(
            f"--sidecar {text}: there is no prompt {prompt!r}; there are {', '.join(prompts)}"
        )
    if ending == JSON:
        return SidecarKind(JSON)
    if ending == XMP:
        keywords = _SUBJECT_PROMPT if _SUBJECT_PROMPT in prompts else None
        return SidecarKind(XMP, prompt or _described_by(prompts), keywords)
    return SidecarKind(ending, prompt or prompts[0])


def _described_by(prompts: Sequence[str]) -> str | None:
    """Keywords are no description."""
    if _DESCRIPTION_PROMPT in prompts:
        return _DESCRIPTION_PROMPT
    return next((prompt for prompt in prompts if prompt != _SUBJECT_PROMPT), None)
