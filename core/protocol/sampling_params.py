"""How to choose the next token: OpenAI's and vLLM's names and defaults."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .constraints.structured_outputs import StructuredOutputsParams
from .constraints.token_automaton import TokenAutomaton
from .named_fields import NamedFields
from .request_error import RequestError

#: Below this, a temperature means greedy decoding, as in vLLM.
GREEDY_TEMPERATURE = 1e-5
MAX_ANSWERS = 128
_MAX_LENGTH_PENALTY = 10


class SamplingParams(
    msgspec.Struct, metaclass=NamedFields, frozen=True, kw_only=True, omit_defaults=True
):
    """Sampling settings of one request. Raises RequestError, naming the field, if out of range.

    n: answers to generate; they share the prompt's blocks.
    presence_penalty: subtracted from the logit of every token generated before.
    frequency_penalty: subtracted once for each time a token was generated before.
    repetition_penalty: divides positive and multiplies negative logits of the tokens of the
        prompt and of the answer so far (Keskar et al., 2019, arXiv:1909.05858).
    temperature: 0 is greedy.
    top_p: keep the smallest set of tokens whose probability reaches this.
    top_k: keep the k likeliest tokens; 0 or -1 keeps all.
    min_p: keep tokens at least this likely relative to the likeliest (arXiv:2407.01082).
    seed: makes the output reproducible, whatever else is in the batch.
    stop: strings that end the text and are not part of it.
    stop_token_ids: tokens that end the text besides the model's own.
    bad_words: words that are not generated.
    bad_words_ids: the same as token ids: where an answer has all but the last of them, the last
        is not generated.
    ignore_eos: go on after the model's end-of-sequence token.
    max_tokens: generate at most this many; None is as many as the context, and the checkpoint's
        `max_new_tokens`, allow.
    min_tokens: nothing ends the answer before it has this many.
    logprobs: return the log-probabilities of this many likeliest tokens and of the chosen one;
        -1 returns the whole vocabulary.
    prompt_logprobs: the same for each token of the prompt.
    logit_bias: added to the logits of these token ids.
    allowed_token_ids: generate only these.
    logits_processors: names of plugins' processors, each with its arguments.
    token_automaton: what the whole answer may be; it is never cut by max_tokens, which its shortest
        must fit. Nothing but the model's end-of-sequence tokens and stop_token_ids ends it.
    skip_special_tokens: leave special tokens out of the text.
    structured_outputs: the form of the whole answer, which max_tokens may cut. Tokens that end
        answers are allowed where it is complete, and nowhere else.
    """

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    bad_words: tuple[str, ...] = ()
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    logit_bias: dict[int, float] = {}
    allowed_token_ids: tuple[int, ...] | None = None
    logits_processors: dict[str, Any] = {}
    token_automaton: TokenAutomaton | None = None
    skip_special_tokens: bool = True
    structured_outputs: StructuredOutputsParams | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            msgspec.structs.force_setattr(self, "stop", (self.stop,))
        for name, within, expected in _LIMITS:
            value = getattr(self, name)
            try:
                fits = within(value)
            except TypeError:
                fits = False
            if not fits:
                raise RequestError(f"{name} must be {expected}, got {value!r}", param=name)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise RequestError(
                f"min_tokens is {self.min_tokens}, more than max_tokens {self.max_tokens}",
                param="min_tokens",
            )
        if self.token_automaton is not None:
            self._check_automaton(self.token_automaton)
        if self.structured_outputs is not None:
            self._check_form(self.structured_outputs)

    def _check_automaton(self, automaton: TokenAutomaton) -> None:
        for name in ("stop", "ignore_eos"):
            if getattr(self, name):
                raise RequestError(f"{name} can't be joined with token_automaton", name)
        if self.max_tokens is not None and self.max_tokens < automaton.shortest:
            raise RequestError(
                f"max_tokens is {self.max_tokens}, but the shortest answer that token_automaton "
                f"allows has {automaton.shortest} tokens with the one that ends it",
                "max_tokens",
            )

    def _check_form(self, form: Any) -> None:
        if not isinstance(form, StructuredOutputsParams):
            raise RequestError(
                f"structured_outputs must be StructuredOutputsParams, not {type(form).__name__}",
                "structured_outputs",
            )
        for name in ("stop", "ignore_eos", "min_tokens", "token_automaton"):
            if getattr(self, name):
                raise RequestError(f"{name} can't be joined with structured_outputs", name)

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always chosen."""
        return self.temperature < GREEDY_TEMPERATURE

    @property
    def penalises(self) -> bool:
        """Whether tokens seen before change the logits."""
        return bool(self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1)

    @property
    def changes_logits(self) -> bool:
        """Whether it changes logits at every step, before temperature and truncation; by more than
        structured_outputs."""
        limited = self.allowed_token_ids is not None or self.token_automaton is not None
        added = bool(self.logit_bias) or bool(self.logits_processors)
        return limited or added or self.penalises

    @property
    def reads_prompt(self) -> bool:
        """Whether the prompt's tokens are looked at for it, beside the model's looking."""
        asked = self.prompt_logprobs is not None
        return asked or self.penalises or bool(self.logits_processors)


class BeamSearchParams(msgspec.Struct, metaclass=NamedFields, frozen=True, kw_only=True):
    """Settings of a beam search, as transformers defines it. Raises RequestError.

    beam_width: hypotheses kept at each step, and answers returned, the best first.
    length_penalty: a hypothesis scores sum(log p) / length ** length_penalty.
    early_stopping: True stops at beam_width finished hypotheses; False when a better one is
        unlikely; "never" only when none can come.
    max_tokens, ignore_eos: as in SamplingParams.
    """

    beam_width: int
    max_tokens: int = 16
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.beam_width <= MAX_ANSWERS:
            raise RequestError(
                f"beam_width must be between 1 and {MAX_ANSWERS}, got {self.beam_width}", "n"
            )
        if not -_MAX_LENGTH_PENALTY <= self.length_penalty <= _MAX_LENGTH_PENALTY:
            raise RequestError(
                f"length_penalty must be between -{_MAX_LENGTH_PENALTY} and "
                f"{_MAX_LENGTH_PENALTY}, got {self.length_penalty}",
                "length_penalty",
            )
        if self.max_tokens < 1:
            raise RequestError(
                f"max_tokens must be at least 1, got {self.max_tokens}", "max_tokens"
            )
        if self.early_stopping not in (True, False, "never"):
            raise RequestError(
                f'early_stopping must be true, false or "never", got {self.early_stopping!r}',
                "early_stopping",
            )


def check_num_logprobs(count: int | None, limit: int, name: str) -> None:
    """Raises RequestError if more log-probabilities are asked for at a position than `limit`, of
    which -1 is none; so is a count of -1, the whole vocabulary."""
    if count is not None and limit >= 0 and not 0 <= count <= limit:
        raise RequestError(
            f"{name} is {count}; this server gives at most {limit} (see --max-logprobs)", name
        )


def _ids(value: Any) -> bool:
    return len(value) > 0 and all(type(token_id) is int for token_id in value)


def _count_or_none(value: int | None) -> bool:
    return value is None or value >= -1


_LIMITS: tuple[tuple[str, Any, str], ...] = (
    ("n", lambda v: 1 <= v <= MAX_ANSWERS, f"between 1 and {MAX_ANSWERS}"),
    ("presence_penalty", lambda v: -2 <= v <= 2, "between -2 and 2"),
    ("frequency_penalty", lambda v: -2 <= v <= 2, "between -2 and 2"),
    ("repetition_penalty", lambda v: 0.01 <= v <= 100, "between 0.01 and 100"),
    ("temperature", lambda v: 0 <= v <= 2, "between 0 and 2"),
    ("top_p", lambda v: 0 < v <= 1, "above 0 and at most 1"),
    ("top_k", lambda v: v >= -1, "at least 1, or 0 or -1 for no limit"),
    ("min_p", lambda v: 0 <= v <= 1, "between 0 and 1"),
    ("seed", lambda v: v is None or -(2**63) <= v < 2**63, "a 64-bit integer"),
    ("stop", lambda v: all(v), "made of strings that are not empty"),
    ("bad_words", lambda v: all(v), "made of strings that are not empty"),
    ("bad_words_ids", lambda v: all(_ids(ids) for ids in v), "lists of token ids, none empty"),
    ("max_tokens", lambda v: v is None or v >= 1, "at least 1"),
    ("min_tokens", lambda v: v >= 0, "at least 0"),
    ("skip_special_tokens", lambda v: isinstance(v, bool), "true or false"),
    ("logprobs", _count_or_none, "at least 0, or -1 for all"),
    ("prompt_logprobs", _count_or_none, "at least 0, or -1 for all"),
    ("logit_bias", lambda v: all(-100 <= b <= 100 for b in v.values()), "between -100 and 100"),
    ("allowed_token_ids", lambda v: v is None or len(v) > 0, "a list that is not empty"),
)
