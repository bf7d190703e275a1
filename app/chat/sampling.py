"""The sampling parameters of a conversation, set by name."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from ...core.protocol.request_error import RequestError
from ...core.protocol.sampling_params import SamplingParams
from ...core.protocol.setting import nearest
from .backend import ChatError

#: What would be computed and not shown.
_UNSHOWN = {
    "n": "a chat has one answer to each question",
    "logprobs": "a chat shows no log-probabilities",
    "prompt_logprobs": "a chat shows no log-probabilities",
}
_TYPES = {
    name: hint for name, hint in get_type_hints(SamplingParams).items() if name not in _UNSHOWN
}
#: All that can be set.
NAMES = tuple(sorted(_TYPES))
_KINDS = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    tuple: 'a JSON list, such as ["END"] or [7, 8]',
    dict: 'a JSON object, such as {"7": -1.5}',
}


class Sampling:
    """defaults: the model's own, as far as they are known. given: what differs from them."""

    def __init__(self, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        self._defaults = dict(defaults)
        self.given: dict[str, Any] = {}
        for name, value in given.items():
            self._give(name, value)

    def set(self, name: str, text: str) -> None:
        """Set by what was typed: a number, a word or JSON; "default" takes back what was set.

        Raises ChatError for an unknown name and for a value that can't be.
        """
        known = self._known(name)
        if text == "default":
            self.given.pop(known, None)
        else:
            self._give(known, _parse(known, text))

    def show(self, name: str) -> str:
        """One line. Raises ChatError for an unknown name."""
        known = self._known(name)
        if known in self.given:
            return f"{known} {_written(self.given[known])}"
        if known in self._defaults:
            return f"{known} {_written(self._defaults[known])} (default)"
        return f"{known} (the server's default)"

    def _known(self, name: str) -> str:
        known = name.replace("-", "_")
        if known in _UNSHOWN:
            raise ChatError(f"{known} can't be set: {_UNSHOWN[known]}")
        if known not in _TYPES:
            hint = nearest(known, NAMES) or "; /set alone shows all"
            raise ChatError(f"{name} is no sampling parameter{hint}")
        return known

    def _give(self, name: str, value: Any) -> None:
        given = self.given | {name: value}
        try:
            SamplingParams(**{"max_tokens": None, **self._defaults, **given})
        except RequestError as error:
            raise ChatError(str(error)) from error
        self.given = given


def _parse(name: str, text: str) -> Any:
    kind, optional = _kind(_TYPES[name])
    if optional and text.lower() == "none":
        return None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        value = text
    if kind is tuple and not isinstance(value, list):
        value = [text if _TYPES[name] == tuple[str, ...] else value]
    try:
        return msgspec.convert(value, _TYPES[name], str_keys=True)
    except msgspec.ValidationError as error:
        raise ChatError(f"{name} must be {_KINDS[kind]}, got {text!r}") from error


def _kind(hint: Any) -> tuple[type, bool]:
    """The type without its parameters, and whether None will do, too."""
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    first = parts[0]
    return get_origin(first) or first, type(None) in parts


def _written(value: Any) -> str:
    return "none" if value is None else msgspec.json.encode(value).decode()
