"""Beam searches side by side, whose steps run in one batch."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.client.beam_search import BeamSearch
from ...core.prompts.tokenizer import Tokenizer
from ...core.protocol.messages import EngineRequest
from ...core.protocol.outputs import RequestOutput


class BeamSearches:
    """A round at a time: `next_requests`, run them, `update` with their outputs."""

    def __init__(self, searches: Sequence[BeamSearch]) -> None:
        self._searches = searches
        self._running: list[tuple[BeamSearch, int]] = []

    def next_requests(self) -> list[EngineRequest]:
        """Of all searches that go on; none once all are done."""
        self._running, requests = [], []
        for search in self._searches:
            if not search.done:
                batch = search.next_requests()
                self._running.append((search, len(batch)))
                requests += batch
        return requests

    def update(self, outputs: Sequence[RequestOutput]) -> None:
        """Take in the outputs of all requests, in order."""
        left = iter(outputs)
        for search, count in self._running:
            answers = [next(left).outputs[0] for _ in range(count)]
            search.update([answer.logprobs[0] for answer in answers if answer.logprobs])

    def to_outputs(self, tokenizer: Tokenizer) -> list[RequestOutput]:
        """The best hypotheses of each search."""
        return [search.to_output(tokenizer) for search in self._searches]
