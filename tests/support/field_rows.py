"""What tests that send each field of a request alone have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

Answer = dict[str, Any]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Row(NamedTuple):
    """given: the field's value; does: whether the answer, beside the one without it, shows what it
    does; refused: a value that it can't have; with_: fields that go with it, in place of those
    that others go with."""

    given: Any
    does: Callable[[Answer, Answer], bool]
    refused: Any
    with_: Mapping[str, Any] = _NOTHING

    def beside(self, usual: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that go with it. usual: those that others go with."""
        return dict(self.with_ or usual)


class Texts:
    """Compares answers by their texts. text: of an answer. greedy: the likeliest one."""

    def __init__(self, text: Callable[[Answer], str], greedy: str) -> None:
        self._text = text
        self._greedy = greedy

    def is_greedy(self, plain: Answer, answer: Answer) -> bool:
        """Where the plain one is not."""
        return self._text(answer) == self._greedy != self._text(plain)

    def differs(self, plain: Answer, answer: Answer) -> bool:
        """From the plain one."""
        return self._text(answer) != self._text(plain)

    def is_the_same(self, plain: Answer, answer: Answer) -> bool:
        """As the plain one."""
        return self._text(answer) == self._text(plain)


def fails(plain: Answer, answer: Answer) -> bool:
    """For what can't be seen in an answer but by its error."""
    return "error" in answer and answer["error"] is not None and plain.get("error") is None


def check_row(
    name: str,
    row: Row,
    usual: Mapping[str, Any],
    ask: Callable[..., Answer],
    ask_plainly: Callable[[str], Answer],
) -> Answer:
    """That a field does what its row says; returns what refuses a value that it can't have. usual:
    see `Row.beside`. ask_plainly: of fields in JSON, so that answers can be kept."""
    fields = row.beside(usual)
    plain = ask_plainly(json.dumps(fields))
    given = ask(**{**fields, name: row.given})
    assert row.does(plain, given), (plain, given)
    return ask(**{**fields, name: row.refused})
