"""How to choose the next token: OpenAI's and vLLM's names and defaults."""

from __future__ import annotations

import msgspec

from .errors import RequestError

#: Below this, a temperature means greedy decoding, as in vLLM.
GREEDY_TEMPERATURE = 1e-5


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling settings of one request. Raises RequestError, naming the field, if out of range.

    temperature: 0 is greedy.
    top_k: keep the k likeliest tokens; 0 or -1 keeps all.
    top_p: keep the smallest set of tokens whose probability reaches this.
    seed: makes the output reproducible, whatever else is in the batch.
    stop: strings that end the text and are not part of it.
    stop_token_ids: tokens that end the text besides the model's own.
    ignore_eos: go on after the model's end-of-sequence token.
    max_tokens: generate at most this many; None is as many as the context allows.
    logprobs: return the log-probabilities of this many likeliest tokens and of the chosen one;
        -1 returns the whole vocabulary.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    max_tokens: int | None = 16
    logprobs: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            msgspec.structs.force_setattr(self, "stop", (self.stop,))
        _require(0 <= self.temperature <= 2, "temperature", self.temperature, "between 0 and 2")
        _require(self.top_k >= -1, "top_k", self.top_k, "at least 1, or 0 or -1 for no limit")
        _require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        _require(
            self.max_tokens is None or self.max_tokens >= 1,
            "max_tokens",
            self.max_tokens,
            "at least 1",
        )
        _require(all(self.stop), "stop", self.stop, "made of strings that are not empty")
        _require(
            self.logprobs is None or self.logprobs >= -1, "logprobs", self.logprobs, "at least 0"
        )

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always chosen."""
        return self.temperature < GREEDY_TEMPERATURE


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise RequestError(f"{name} must be {expected}, got {value!r}", param=name)
