"""What a request of another shape calls the parts of the chat that it becomes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ....core.protocol.request_error import RequestError

#: What messages name beside the part at fault.
_NAMED_BESIDE = re.compile(r"\bresponse_format(\.\w+)*")


class ChatNames:
    """For one request. others: patterns of names, each with what is written in its place."""

    def __init__(self, others: Sequence[tuple[re.Pattern[str], str]]) -> None:
        self._others = others
        self._names: dict[str, tuple[str, bool]] = {}

    def put(self, place: str, name: str, is_whole: bool = False) -> None:
        """A part of the chat, and its name in the request. is_whole: whether nothing within it has
        a name of its own."""
        self._names[place] = (name, is_whole)

    def named(self, error: RequestError) -> RequestError:
        """A chat's error, by the name that the request has for the part at fault."""
        old = error.param
        if old is None:
            return error
        named = error.renamed(self._in_request(self._name_of(old)))
        told = _NAMED_BESIDE.sub(lambda found: self._in_request(found[0]), str(named))
        named.args = (told,)
        return named

    def _in_request(self, name: str) -> str:
        for pattern, other in self._others:
            name = pattern.sub(other, name)
        return name

    def _name_of(self, part: str) -> str:
        """By the nearest part around it that has one; any other as it is."""
        place = part
        while place not in self._names:
            end = max(place.rfind("."), place.rfind("["))
            if end < 0:
                return part
            place = place[:end]
        name, is_whole = self._names[place]
        return name if is_whole else name + part.removeprefix(place)
