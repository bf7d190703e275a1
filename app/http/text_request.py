"""The fields that requests for text share, chats or not: OpenAI's, and vLLM's beside them."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar, Literal

import msgspec

from ...core.prompts.input_processor import RequestOptions
from ...core.protocol.constraints.structured_outputs import StructuredOutputsParams
from ...core.protocol.request_error import RequestError
from ...core.protocol.sampling_params import BeamSearchParams, SamplingParams, check_num_logprobs
from .client_identity import Caller
from .field_table import FieldTable
from .response_form import NO_WHITE_SPACE, AskedForm, read_form

#: Sampling fields that pass through as they are.
_SAMPLING_FIELDS = (
    "n",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop_token_ids",
    "bad_words",
    "ignore_eos",
    "min_tokens",
    "prompt_logprobs",
    "logit_bias",
    "allowed_token_ids",
    "logits_processors",
)
#: What a model's generation config may ask for and a beam search does without, and what a request
#: says to go on without it.
_DEFAULTS_NOT_IN_BEAMS = {
    "repetition_penalty": "; send repetition_penalty: 1 to search without it",
    "stop": "; send stop: [] to search without it",
    "bad_words_ids": "",
}

#: For the FieldTable of each of these requests; see there.
HARMLESS = {"user": "a name of the caller, for the provider's records"}
FIXED: dict[str, tuple[Any, ...]] = {
    "include_stop_str_in_output": (False,),
    "spaces_between_special_tokens": (True,),
    "return_tokens_as_token_ids": (False,),
    "return_token_ids": (False,),
}
REFUSED = {
    "guided_decoding_backend": "the operator chooses it, by --structured-outputs-backend",
    "guided_whitespace_pattern": NO_WHITE_SPACE,
    "structural_tag": "it belongs into structured_outputs",
    "truncate_prompt_tokens": "a prompt is taken whole or refused; shorten it",
    "request_id": "the answer's id is the server's",
    "kv_transfer_params": "blocks are not moved between servers",
    "vllm_xargs": "there are none",
}
FREE = frozenset({"logits_processors", "response_format", "structured_outputs", "guided_json"})


class StreamOptions(msgspec.Struct):
    """OpenAI's `stream_options`."""

    include_usage: bool = False


STREAM_OPTIONS = FieldTable(
    StreamOptions,
    fixed={"include_obfuscation": (False,), "continuous_usage_stats": (False,)},
)


class TextRequest(msgspec.Struct, kw_only=True, dict=True):
    """The fields that are honoured; None takes the model's or the server's default.

    response_format, structured_outputs, guided_json and so on: see response_form.py.
    timeout, queue_timeout: seconds until the answer must be complete, and must have begun.
    include_timings: whether the answer says what it took; see `timings` in request_timings.py.
    """

    #: The most stop strings, as in OpenAI's API.
    max_stops: ClassVar[int] = 4
    #: See RequestOptions.
    cuts_to_context: ClassVar[bool] = False
    #: What a beam search does without; each may have a value that asks for nothing.
    not_in_beams: ClassVar[dict[str, tuple[Any, ...]]] = {
        "stream": (),
        "include_timings": (),
        "stop": (),
        "stop_token_ids": (),
        "logits_processors": (),
        "logit_bias": (),
        "allowed_token_ids": (),
        "bad_words": (),
        "min_tokens": (),
        "presence_penalty": (),
        "frequency_penalty": (),
        "repetition_penalty": (1,),
        "temperature": (1,),
        "top_p": (1,),
        "top_k": (-1,),
        "min_p": (),
        "response_format": ({"type": "text"},),
        "structured_outputs": (),
        "guided_json": (),
        "guided_regex": (),
        "guided_choice": (),
        "guided_grammar": (),
    }

    model: str | None = None
    max_tokens: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    bad_words: list[str] | None = None
    ignore_eos: bool | None = None
    min_tokens: int | None = None
    prompt_logprobs: int | None = None
    logit_bias: dict[int, float] | None = None
    allowed_token_ids: list[int] | None = None
    logits_processors: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    use_beam_search: bool = False
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    priority: int = 0
    cache_salt: str | None = None
    queue_timeout: float | None = None
    timeout: float | None = None
    skip_special_tokens: bool = True
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    include_timings: bool = False

    def check(self, max_logprobs: int, scheduling_policy: str) -> None:
        """Raises RequestError for fields that mean nothing together or under this policy, for
        what OpenAI's API refuses too, and for more log-probabilities than `max_logprobs`; see
        EngineConfig."""
        check_num_logprobs(self.prompt_logprobs, max_logprobs, "prompt_logprobs")
        if self.prompt_logprobs is not None and self.stream:
            raise RequestError("prompt_logprobs can't be joined with stream", "prompt_logprobs")
        if self.stream_options is not None and not self.stream:
            raise RequestError("stream_options needs stream to be true", "stream_options")
        if isinstance(self.stop, list) and len(self.stop) > self.max_stops:
            raise RequestError(
                f"stop has {len(self.stop)} strings, more than the {self.max_stops} allowed", "stop"
            )
        if self.priority and scheduling_policy != "priority":
            raise RequestError(
                "priority means nothing to this server; start it with "
                "--scheduling-policy priority, or leave it out",
                "priority",
            )
        if not self.use_beam_search:
            for name, default in (("length_penalty", 1), ("early_stopping", False)):
                if getattr(self, name) != default:
                    raise RequestError(f"{name} needs use_beam_search to be true", name)

    @property
    def includes_usage(self) -> bool:
        """Whether a stream is to end with the tokens in and out. Raises HttpError."""
        return STREAM_OPTIONS.read(self.stream_options or {}, "stream_options.").include_usage

    @cached_property
    def asked_form(self) -> AskedForm | None:
        """What answers are kept to, if anything. Raises HttpError and RequestError."""
        return read_form(self)

    def sampling_params(
        self,
        defaults: dict[str, Any],
        keeps_special_tokens: bool = False,
        form: StructuredOutputsParams | None = None,
    ) -> SamplingParams:
        """The sampling settings, on top of the model's defaults. keeps_special_tokens: in the text,
        whatever is asked for. form: what answers are kept to if none is asked for. Raises
        RequestError."""
        form = form if self.asked_form is None else self.asked_form.form
        given = {name: getattr(self, name) for name in _SAMPLING_FIELDS}
        stop = (self.stop,) if isinstance(self.stop, str) else self.stop
        given["stop"] = None if stop is None else tuple(stop)
        if form is not None:
            # The checkpoint's stop strings could end a form in its midst.
            defaults = {**defaults, "stop": ()}
            given["structured_outputs"] = form
        return SamplingParams(
            **defaults
            | {name: value for name, value in given.items() if value is not None}
            | {"max_tokens": self.limit},
            logprobs=self.num_logprobs,
            skip_special_tokens=self.skip_special_tokens and not keeps_special_tokens,
        )

    def beam_search_params(self, room: int, defaults: dict[str, Any]) -> BeamSearchParams | None:
        """The settings of a beam search of at most `room` tokens, if one is asked for.

        Raises RequestError for a field that can't be joined with it, given or by default.
        """
        if not self.use_beam_search:
            return None
        for name, neutral in self.not_in_beams.items():
            value = getattr(self, name)
            if value and value not in neutral:
                raise RequestError(f"use_beam_search can't be joined with {name}", name)
        # Even none of the likeliest, beside which a token's own would be told.
        counts = {"logprobs": self.num_logprobs, "prompt_logprobs": self.prompt_logprobs}
        for name, count in counts.items():
            if count is not None:
                raise RequestError(f"use_beam_search can't be joined with {name}", name)
        for name, remedy in _DEFAULTS_NOT_IN_BEAMS.items():
            if defaults.get(name) not in (None, 1) and getattr(self, name, None) is None:
                raise RequestError(
                    f"use_beam_search: the model's generation_config.json sets {name}, which a "
                    f"beam search does without{remedy}",
                    "use_beam_search",
                )
        return BeamSearchParams(
            beam_width=1 if self.n is None else self.n,
            max_tokens=min(self.limit or room, room),
            length_penalty=self.length_penalty,
            early_stopping=self.early_stopping,
            ignore_eos=bool(self.ignore_eos),
        )

    def options(self, arrival: float, caller: Caller) -> RequestOptions:
        """What is asked for beside sampling. Raises RequestError."""
        return RequestOptions(
            self.priority,
            self.cache_salt or "",
            self.queue_timeout,
            self.timeout,
            arrival=arrival,
            client=caller.client,
            weight=caller.weight,
            cache_scope=caller.cache_scope,
            background=caller.background,
            cuts_to_context=self.cuts_to_context,
        )

    def named(self, error: RequestError) -> RequestError:
        """The error by the name that the request has for the field at fault."""
        try:
            form = self.asked_form
        except RequestError as unread:
            return unread
        return error if form is None else form.named(error)

    @property
    def limit(self) -> int | None:
        """The most tokens that an answer may have; None if the request doesn't say."""
        return self.max_tokens

    @property
    def num_logprobs(self) -> int | None:
        """Of which each token's likeliest are to be told, beside its own; None for none at all."""
        raise NotImplementedError
