"""One request's output as it grows, step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import replace

from ...core.client.request_state import RequestState
from ...core.protocol.errors import error_for
from ...core.protocol.messages import EngineRequest
from ...core.protocol.outputs import CompletionOutput, RequestOutput
from .offline_run import OfflineRun


class Snapshots:
    """Outputs of one request that stay as they are while it goes on."""

    def __init__(self) -> None:
        self._shown: dict[int, int] = {}

    def take(self, state: RequestState) -> RequestOutput | Exception:
        """What there is now, `new_text` of each answer being what it has gained since the last; or
        what `error_for` gives for a failure."""
        if state.failure is not None:
            return error_for(state.failure)
        output = state.to_output()
        return replace(output, outputs=[self._copy(answer) for answer in output.outputs])

    def _copy(self, answer: CompletionOutput) -> CompletionOutput:
        shown = self._shown.get(answer.index, 0)
        self._shown[answer.index] = len(answer.text)
        return replace(
            answer,
            token_ids=list(answer.token_ids),
            logprobs=None if answer.logprobs is None else list(answer.logprobs),
            new_text=answer.text[shown:],
        )


def token_stream(run: OfflineRun, request: EngineRequest) -> Generator[RequestOutput]:
    """An output after each step that added to it; closing this aborts the request.

    Raises what `error_for` gives for a failure.
    """
    snapshots = Snapshots()
    outputs: deque[RequestOutput | Exception] = deque()
    with run:
        run.add(request, lambda state: outputs.append(snapshots.take(state)))
        while True:
            while not outputs:  # others' steps may bring some as well
                run.step()
            output = outputs.popleft()
            if isinstance(output, Exception):
                raise output
            yield output
            if output.finished:
                return
