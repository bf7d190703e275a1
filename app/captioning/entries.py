"""What came of a picture -> what the journal keeps of it -> what outputs show of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from .journal import Entry
from .outputs.row import Row
from .picture import Picture, name_bytes, printable
from .prompts.prompt_set import PromptSet
from .task import Answer, Captioned, Failed, Repeated, asked_of

#: As their sources name them, from the output's folder, or from the root.
PathStyle = Literal["given", "relative", "absolute"]


def entry_of(outcome: Captioned | Failed, prompts: PromptSet) -> Entry:
    """Of a picture that was captioned, or failed."""
    task, picture = outcome.task, outcome.picture
    asked, facts = None, dict[str, Any]()
    if task is not None:
        asked = asked_of(task.digest, task.questions)
        facts |= _measures(task.digest, task.size)
    if isinstance(outcome, Failed):
        return _entry(picture, asked, {}, outcome.error, facts)
    texts = {name: prompts.finish(name, a.text) for name, a in outcome.answers.items()}
    return _entry(picture, asked, texts, None, facts | _by_prompt(outcome.answers))


def entry_like(repeated: Repeated, other: Entry) -> Entry:
    """Of a picture that takes over what came of another with the same content."""
    facts = _measures(repeated.digest, repeated.size)
    kept = {name: other.facts[name] for name in _BY_PROMPT if name in other.facts}
    facts |= {"duplicate_of": printable(os.fsdecode(other.name)), **kept}
    return _entry(repeated.picture, repeated.asked, other.texts, other.error, facts)


def row_of(entry: Entry, show: Callable[[str], str], content: bytes | None = None) -> Row:
    """show: how a name is written."""
    facts = {**entry.columns, **entry.facts}
    if "duplicate_of" in entry.facts:
        facts["duplicate_of"] = show(facts["duplicate_of"])
    path = None if entry.path is None else os.fsdecode(entry.path)
    return Row(show(os.fsdecode(entry.name)), path, entry.texts, entry.error, facts, content)


def shown_names(style: PathStyle, output: Path | None) -> Callable[[str], str]:
    """How an output writes the names of files. output: relative ones are from its folder; of
    standard output, from the working folder."""
    folder = os.path.abspath(output.parent if output is not None else ".")

    def show(name: str) -> str:
        if style == "given" or "://" in name or name.startswith("data:"):
            return printable(name)
        absolute = os.path.abspath(name)
        return printable(absolute if style == "absolute" else os.path.relpath(absolute, folder))

    return show


#: Facts that each prompt has of its own.
_BY_PROMPT = ("finish_reason", "prompt_tokens", "completion_tokens")


def _by_prompt(answers: Mapping[str, Answer]) -> dict[str, Any]:
    return {
        fact: {name: getattr(answer, fact) for name, answer in answers.items()}
        for fact in _BY_PROMPT
    }


def _measures(digest: str, size: tuple[int, int]) -> dict[str, Any]:
    return {"width": size[0], "height": size[1], "digest": digest}


def _entry(
    picture: Picture,
    asked: bytes | None,
    texts: Mapping[str, str],
    error: str | None,
    facts: dict[str, Any],
) -> Entry:
    path = None if picture.path is None else name_bytes(picture.path)
    columns = _plain(picture.columns)
    return Entry(name_bytes(picture.name), path, asked, dict(texts), error, facts, columns)


def _plain(value: Any) -> Any:
    """Of a cell, what can be kept: integers of 64 bits, and texts without lone surrogates."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, Mapping):
        return {printable(str(name)): _plain(cell) for name, cell in value.items()}
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value
