"""The body of POST /v1/completions: OpenAI's fields, and vLLM's beside them."""

from __future__ import annotations

from typing import Any

import msgspec

from ....core.protocol.constraints.structured_outputs import StructuredOutputsParams
from ....core.protocol.request_error import RequestError
from ....core.protocol.sampling_params import (
    BeamSearchParams,
    SamplingParams,
    check_num_logprobs,
)
from ...serving.completion_pipeline import DEFAULT_MAX_TOKENS
from ..text_request import TextRequest

_MAX_PROMPTS = 2048


class CompletionRequest(TextRequest, dict=True):
    """The fields of a completion beside those of every request.

    prompt: a text, token ids, or a list of either, each with answers of its own.
    best_of: no other than n.
    logprobs: of how many of the likeliest tokens, beside the token's own.
    echo: whether texts and log-probabilities begin with the prompt's. Beside it, a max_tokens of 0
        tells of the prompt alone.
    add_special_tokens: whether those that begin a sequence are put before a text, unless it has
        them.
    """

    prompt: Any
    best_of: int | None = None
    logprobs: int | None = None
    echo: bool = False
    add_special_tokens: bool = True

    def check(self, max_logprobs: int, scheduling_policy: str) -> None:
        """As of every request. Raises RequestError."""
        check_num_logprobs(self.logprobs, max_logprobs, "logprobs")
        super().check(max_logprobs, scheduling_policy)
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise RequestError(
                f"best_of is {self.best_of}, and can only be n here: all answers are told, none is "
                "picked; leave it out",
                "best_of",
            )
        if self._echoes_logprobs and self.prompt_logprobs is not None:
            raise RequestError(
                "prompt_logprobs can't be joined with echo and logprobs, which tell those of the "
                "prompt too",
                "prompt_logprobs",
            )

    def prompts(self) -> list[tuple[str, str | list[int]]]:
        """Each prompt, after its name in errors. Of token ids there may be millions, which take
        their time. Raises RequestError."""
        given = self.prompt
        if isinstance(given, str) or _are_ids(given):
            return [("prompt", given)]
        if not isinstance(given, list) or not given:
            raise RequestError(
                "prompt must be a text, token ids, or a list of at least one of either", "prompt"
            )
        if len(given) > _MAX_PROMPTS:
            param = f"prompt[{_MAX_PROMPTS}]"
            raise RequestError(
                f"{param}: the request has {len(given)} prompts, more than the {_MAX_PROMPTS} "
                "allowed; send fewer",
                param,
            )
        named = [(f"prompt[{i}]", item) for i, item in enumerate(given)]
        for param, item in named:
            if not isinstance(item, str) and item != [] and not _are_ids(item):
                raise RequestError(f"{param} must be a text or a list of token ids", param)
        if self.include_timings and len(named) > 1:
            raise RequestError("include_timings needs a single prompt", "include_timings")
        return named

    def sampling_params(
        self,
        defaults: dict[str, Any],
        keeps_special_tokens: bool = False,
        form: StructuredOutputsParams | None = None,
    ) -> SamplingParams:
        """See TextRequest."""
        params = super().sampling_params(defaults, keeps_special_tokens, form)
        if not self._echoes_logprobs:
            return params
        return msgspec.structs.replace(params, prompt_logprobs=self.logprobs)

    def beam_search_params(self, room: int, defaults: dict[str, Any]) -> BeamSearchParams | None:
        """See TextRequest."""
        limit = DEFAULT_MAX_TOKENS if self.max_tokens is None else room
        return super().beam_search_params(min(limit, room), defaults)

    @property
    def asks_for_the_prompt_alone(self) -> bool:
        """Whether no token of an answer is to be told."""
        return self.echo and self.max_tokens == 0

    @property
    def limit(self) -> int | None:
        """The most tokens that are generated, of which there is one at least."""
        return 1 if self.asks_for_the_prompt_alone else self.max_tokens

    @property
    def num_logprobs(self) -> int | None:
        """Of which each token's likeliest are to be told, beside its own; None for none at all."""
        return self.logprobs

    @property
    def _echoes_logprobs(self) -> bool:
        return self.echo and self.logprobs is not None


def _are_ids(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(type(item) is int for item in given)
