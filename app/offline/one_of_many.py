"""Which of many requests an error is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ...core.client.request_state import RequestState
from ...core.protocol.errors import RequestError, error_for
from ...core.protocol.outputs import RequestOutput


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


def outputs_of(name: str | None, states: Sequence[RequestState]) -> list[RequestOutput]:
    """Of requests that have ended, in order. name: of the list that their caller gave, if that is
    what they stand in.

    Raises what `error_for` gives for the first that failed. Of several of a list it names the
    place, and has the outputs of all the others.
    """
    outputs = [state.to_output() if state.failure is None else None for state in states]
    for index, state in enumerate(states):
        if state.failure is None:
            continue
        error = error_for(state.failure)
        if name is not None and len(states) > 1:
            done = len(outputs) - outputs.count(None)
            error.args = (f"{name}[{index}]: {error} ({done} others are in `outputs` of this)",)
            error.index, error.outputs = index, outputs
        raise error
    return [output for output in outputs if output is not None]
