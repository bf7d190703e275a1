"""Prompts, choices and examples as they are typed after options."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ....core.protocol.request_error import RequestError
from ....core.protocol.setting import nearest
from ..picture import printable

#: NAME=TEXT, and what was surely meant as one.
_NAMED = re.compile(r"([\w-]+)=(.*)", re.DOTALL)

_Tables = Mapping[str, dict[str, Any]]


def option(field: str) -> str:
    """The option that sets a field."""
    return f"--{field.replace('_', '-')}"


def read_typed(prompts: Sequence[str], default_name: str) -> dict[str, str]:
    """Texts by name. A text that begins with an identifier and an equals sign is NAME=TEXT;
    another has the default name. Raises RequestError for two of one name."""
    read: dict[str, str] = {}
    for typed in prompts:
        name, text = _split_name(typed, "--prompt")
        name = name or default_name
        if name in read:
            raise RequestError(
                f"--prompt: two prompts are named {name}; name each, as in "
                '--prompt tags="…" --prompt caption="…"'
            )
        read[name] = text
    return read


def add_choices(tables: _Tables, choices: Sequence[str]) -> None:
    """A,B,C for the only prompt, or NAME=A,B,C. Raises RequestError."""
    given: set[str] = set()
    for typed in choices:
        name, listed = _split_name(typed, "--choices")
        name = name or _only_prompt(tables, "--choices", "as in --choices NAME=a,b,c")
        if name not in tables:
            raise RequestError(
                f"--choices: no prompt is named {name}{nearest(name, tables)}; a choice that has "
                "an equals sign in it can be given in a file of prompts"
            )
        if name in given:
            raise RequestError(f"--choices: those of {name} are given twice")
        given.add(name)
        tables[name]["choices"] = listed.split(",")


def add_examples(tables: _Tables, examples: Sequence[str]) -> None:
    """IMAGE=ANSWER, for the only prompt; after those that it has. Raises RequestError."""
    if not examples:
        return
    name = _only_prompt(tables, "--example", "give its examples in a file of prompts")
    read = [_split_example(typed) for typed in examples]
    tables[name]["examples"] = [*tables[name].get("examples", ()), *read]


def _split_name(typed: str, where: str) -> tuple[str | None, str]:
    found = _NAMED.fullmatch(typed)
    if found is None:
        return None, typed
    name, rest = found.groups()
    if "-" in name:
        raise RequestError(
            f"{where}: {name} can't name a prompt; write {name.replace('-', '_').strip('_')}=…"
        )
    return (name, rest) if name.isidentifier() else (None, typed)


def _only_prompt(tables: _Tables, where: str, otherwise: str) -> str:
    if len(tables) > 1:
        raise RequestError(
            f"{where}: there are {len(tables)} prompts ({', '.join(tables)}), and it doesn't say "
            f"which of them is meant; {otherwise}"
        )
    return next(iter(tables))


def _split_example(typed: str) -> dict[str, str]:
    """At the first equals sign before which stands the name of a file."""
    places = [found.start() for found in re.finditer("=", typed)]
    for place in places:
        if os.path.isfile(typed[:place]):
            return {"image": os.path.abspath(typed[:place]), "answer": typed[place + 1 :]}
    if not places:
        raise RequestError(f"--example: {printable(typed)} must be IMAGE=ANSWER")
    raise RequestError(f"--example: {printable(typed[: places[0]])} is no file")
