"""The body of POST /v1/chat/completions: OpenAI's fields, and vLLM's beside them."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import msgspec

from ...core.prompts.input_processor import RequestOptions
from ...core.protocol.request_error import RequestError
from ...core.protocol.sampling_params import BeamSearchParams, SamplingParams, check_num_logprobs
from ..serving.chat_messages import template_options
from ..serving.tools import read_tools
from .forced_calls import ForcedCalls
from .response_form import AskedForm, read_form

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


#: What a beam search does without; each may have a value that asks for nothing.
_NOT_IN_BEAMS: dict[str, tuple[Any, ...]] = {
    "stream": (),
    "include_timings": (),
    "logprobs": (),
    "prompt_logprobs": (),
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
    "tools": (),
    "response_format": ({"type": "text"},),
    "structured_outputs": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
}
#: What a model's generation config may ask for and a beam search does without, and what a request
#: says to go on without it.
_DEFAULTS_NOT_IN_BEAMS = {
    "repetition_penalty": "; send repetition_penalty: 1 to search without it",
    "stop": "; send stop: [] to search without it",
    "bad_words_ids": "",
}
#: As OpenAI's API has them.
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_MAX_STOPS = 4


class StreamOptions(msgspec.Struct):
    """OpenAI's `stream_options`."""

    include_usage: bool = False


class ChatCompletionRequest(msgspec.Struct, dict=True):
    """The fields that are honoured; None takes the model's or the server's default.

    tools, chat_template_kwargs: given to the chat template, the former unless tool_choice is
        "none"; calls of tools are then looked for in answers. tool_choice "required", or a
        function's name in OpenAI's way, makes calls of them; see ForcedCalls.
    parallel_tool_calls: False tells the first call of an answer and no other.
    include_reasoning: whether thoughts, where the model marks them, are told.
    add_generation_prompt: whether the prompt ends with what opens an answer; True unless
        continue_final_message is, which leaves the last message open for the answer to go on.
    response_format, structured_outputs, guided_json and so on: see response_form.py.
    max_image_tokens: what each image may take of the prompt.
    timeout, queue_timeout: seconds until the answer must be complete, and must have begun.
    include_timings: whether the answer says what it took; see `timings` in request_timings.py.
    """

    messages: list[Any]
    model: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
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
    logprobs: bool | None = None
    top_logprobs: int | None = None
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
    max_image_tokens: int | None = None
    tools: list[Any] | None = None
    tool_choice: Literal["auto", "none", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    include_reasoning: bool = True
    skip_special_tokens: bool = True
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    include_timings: bool = False

    def check(self, max_logprobs: int, scheduling_policy: str) -> None:
        """Raises RequestError for fields that mean nothing together or under this policy, for
        what OpenAI's API refuses too, and for more log-probabilities than `max_logprobs`; see
        EngineConfig."""
        for name in ("top_logprobs", "prompt_logprobs"):
            check_num_logprobs(getattr(self, name), max_logprobs, name)
        if self.top_logprobs and not self.logprobs:
            raise RequestError("top_logprobs needs logprobs to be true", "top_logprobs")
        if self.prompt_logprobs is not None and self.stream:
            raise RequestError("prompt_logprobs can't be joined with stream", "prompt_logprobs")
        if self.stream_options is not None and not self.stream:
            raise RequestError("stream_options needs stream to be true", "stream_options")
        if isinstance(self.stop, list) and len(self.stop) > _MAX_STOPS:
            raise RequestError(
                f"stop has {len(self.stop)} strings, more than the {_MAX_STOPS} allowed", "stop"
            )
        older, newer = self.max_tokens, self.max_completion_tokens
        if older is not None and newer is not None and older != newer:
            raise RequestError(
                "max_tokens and max_completion_tokens mean the same, and differ; give one",
                "max_completion_tokens",
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
        if self.add_generation_prompt and self.continue_final_message:
            raise RequestError(
                "add_generation_prompt can't be joined with continue_final_message",
                "add_generation_prompt",
            )
        for i, message in enumerate(self.messages):
            role = message.get("role") if isinstance(message, dict) else None
            if isinstance(role, str) and role not in _ROLES:
                param = f"messages[{i}].role"
                raise RequestError(f"{param} must be one of {', '.join(_ROLES)}", param)

    def sampling_params(
        self, defaults: dict[str, Any], keeps_special_tokens: bool = False
    ) -> SamplingParams:
        """The sampling settings, on top of the model's defaults. keeps_special_tokens: in the text,
        whatever is asked for. Raises RequestError."""
        given = {name: getattr(self, name) for name in _SAMPLING_FIELDS}
        stop = (self.stop,) if isinstance(self.stop, str) else self.stop
        given["stop"] = None if stop is None else tuple(stop)
        if self.asked_form is not None:
            # The checkpoint's stop strings could end a form in its midst.
            defaults = {**defaults, "stop": ()}
            given["structured_outputs"] = self.asked_form.form
        return SamplingParams(
            **defaults
            | {name: value for name, value in given.items() if value is not None}
            | {"max_tokens": self._max_tokens},
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            skip_special_tokens=self.skip_special_tokens and not keeps_special_tokens,
        )

    def beam_search_params(self, room: int, defaults: dict[str, Any]) -> BeamSearchParams | None:
        """The settings of a beam search of at most `room` tokens, if one is asked for.

        Raises RequestError for a field that can't be joined with it, given or by default.
        """
        if not self.use_beam_search:
            return None
        for name, neutral in _NOT_IN_BEAMS.items():
            value = getattr(self, name)
            if value and value not in neutral:
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
            max_tokens=min(self._max_tokens or room, room),
            length_penalty=self.length_penalty,
            early_stopping=self.early_stopping,
            ignore_eos=bool(self.ignore_eos),
        )

    def template_options(self) -> dict[str, Any]:
        """What the chat template is given besides the messages. Raises RequestError."""
        given = self.chat_template_kwargs or {}
        own: dict[str, bool] = {}
        if self.add_generation_prompt is not None or self.continue_final_message:
            own["add_generation_prompt"] = bool(self.add_generation_prompt)
        if self.continue_final_message is not None:
            own["continue_final_message"] = self.continue_final_message
        for name in own:
            if name in given:
                raise RequestError(f"{name} is given twice", f"chat_template_kwargs.{name}")
        return template_options(self.callable_tools, {**given, **own})

    @cached_property
    def callable_tools(self) -> list[dict[str, Any]]:
        """The tools that answers may call, as a chat template takes them. Raises RequestError."""
        tools = read_tools(self.tools, strict_allowed=self._forces_calls)
        return [] if self.tool_choice == "none" else tools

    @cached_property
    def forced_calls(self) -> ForcedCalls | None:
        """What the answer must call, if it must. Raises RequestError."""
        if not self._forces_calls:
            return None
        return ForcedCalls(
            self.callable_tools, self.tool_choice, one_call=self.parallel_tool_calls is False
        )

    @property
    def _forces_calls(self) -> bool:
        return self.tool_choice not in (None, "auto", "none")

    @cached_property
    def asked_form(self) -> AskedForm | None:
        """What answers are kept to, if anything. Raises HttpError and RequestError."""
        asked, forced = read_form(self), self.forced_calls
        if asked is not None and self.callable_tools:
            raise RequestError(
                f"tools can't be joined with {asked.param}: an answer of that form is no call; "
                'leave one of them out, or send "tool_choice": "none"',
                "tools",
            )
        return asked if forced is None else AskedForm("tools", forced.form)

    def named(self, error: RequestError) -> RequestError:
        """The error by the name that the request has for the field at fault."""
        if self.asked_form is not None:
            error = self.asked_form.named(error)
        newer = "max_completion_tokens"
        if error.param != "max_tokens" or self.max_completion_tokens is None:
            return error
        return RequestError(str(error).replace("max_tokens", newer), newer)

    def options(self, arrival: float, client: str) -> RequestOptions:
        """What is asked for beside sampling. client: who asks. Raises RequestError."""
        return RequestOptions(
            self.priority,
            self.cache_salt or "",
            self.queue_timeout,
            self.timeout,
            self.max_image_tokens,
            arrival,
            client,
        )

    @property
    def _max_tokens(self) -> int | None:
        newer = self.max_completion_tokens
        return newer if newer is not None else self.max_tokens
