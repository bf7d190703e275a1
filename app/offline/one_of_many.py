"""Which of many requests an error is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...core.protocol.errors import RequestError


@contextmanager
def naming_index(name: str, index: int) -> Iterator[None]:
    """A RequestError inside names its place in the list that was given, such as "prompts[3]", and
    has it as `index`."""
    try:
        yield
    except RequestError as error:
        place = f"{name}[{index}]"
        error.args = (f"{place}: {error}",)
        error.param = place if error.param is None else f"{place}.{error.param}"
        error.index = index
        raise
