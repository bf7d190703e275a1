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

    def take(self, state: RequestState) -> RequestOutput:
        """What there is now; `new_text` of each answer is what it has gained since the last."""
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
    outputs: deque[RequestOutput] = deque()
    with run:
        state = run.add(request, lambda state: outputs.append(snapshots.take(state)))
        while True:
            if state.failure is not None:
                raise error_for(state.failure)
            while outputs:
                yield outputs.popleft()
            if state.finished:
                return
            run.step()
