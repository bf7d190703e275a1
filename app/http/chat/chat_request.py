"""The body of POST /v1/chat/completions: OpenAI's fields, and vLLM's beside them."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Literal

from ....core.prompts.input_processor import RequestOptions
from ....core.protocol.request_error import RequestError
from ....core.protocol.sampling_params import check_num_logprobs
from ...serving.chat_messages import template_options
from ...serving.tools import read_tools, strict_tools
from ..client_identity import Caller
from ..response_form import AskedForm, read_form
from ..text_request import TextRequest
from .forced_calls import ForcedCalls

#: Of strict tools, the field that the request doesn't have.
_FORM_OF_CALLS = "structured_outputs.structural_tag"
#: As OpenAI's API has them.
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


class ChatCompletionRequest(TextRequest, dict=True):
    """The fields of a chat beside those of every request; None takes the model's default.

    tools, chat_template_kwargs: given to the chat template, the former unless tool_choice is
        "none"; calls of tools are then looked for in answers. tool_choice "required", or a
        function's name in OpenAI's way, makes calls of them; see ForcedCalls.
    parallel_tool_calls: False tells the first call of an answer and no other.
    include_reasoning: whether thoughts, where the model marks them, are told.
    add_generation_prompt: whether the prompt ends with what opens an answer; True unless
        continue_final_message is, which leaves the last message open for the answer to go on.
    max_image_tokens: what each image may take of the prompt.
    """

    not_in_beams: ClassVar[dict[str, tuple[Any, ...]]] = {**TextRequest.not_in_beams, "tools": ()}

    messages: list[Any]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    max_image_tokens: int | None = None
    tools: list[Any] | None = None
    tool_choice: Literal["auto", "none", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    include_reasoning: bool = True
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None

    def check(self, max_logprobs: int, scheduling_policy: str) -> None:
        """As of every request. Raises RequestError."""
        check_num_logprobs(self.top_logprobs, max_logprobs, "top_logprobs")
        if self.top_logprobs and not self.logprobs:
            raise RequestError("top_logprobs needs logprobs to be true", "top_logprobs")
        super().check(max_logprobs, scheduling_policy)
        older, newer = self.max_tokens, self.max_completion_tokens
        if older is not None and newer is not None and older != newer:
            raise RequestError(
                "max_tokens and max_completion_tokens mean the same, and differ; give one",
                "max_completion_tokens",
            )
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
        tools = read_tools(self.tools, strict_allowed=True)
        return [] if self.tool_choice == "none" else tools

    @property
    def strict_tools(self) -> dict[str, str]:
        """Those that answers may, and need not, call with nothing but what their schemas say: by
        name, the field that says so."""
        may_call = bool(self.callable_tools) and not self._forces_calls
        return strict_tools(self.tools) if may_call else {}

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
        error = super().named(error)
        if error.param == _FORM_OF_CALLS and self.structured_outputs is None:
            error = error.renamed("tools")
        newer = "max_completion_tokens"
        if error.param != "max_tokens" or self.max_completion_tokens is None:
            return error
        return error.renamed(newer)

    def options(self, arrival: float, caller: Caller) -> RequestOptions:
        """See TextRequest."""
        options = super().options(arrival, caller)
        return replace(
            options,
            max_image_tokens=self.max_image_tokens,
            continues_text=bool(self.continue_final_message),
        )

    @property
    def limit(self) -> int | None:
        """The most tokens that an answer may have, by either of its names."""
        newer = self.max_completion_tokens
        return newer if newer is not None else self.max_tokens

    @property
    def num_logprobs(self) -> int | None:
        """Of which each token's likeliest are to be told, beside its own; None for none at all."""
        return (self.top_logprobs or 0) if self.logprobs else None


class ReshapedChat(ChatCompletionRequest, dict=True):
    """A chat that came in the shape of another API than OpenAI's. Those take more stop strings, and
    a limit of an answer that the context may cut short."""

    max_stops: ClassVar[int] = 64
    cuts_to_context: ClassVar[bool] = True
