"""What a chat asks its answers to be taken apart into: thoughts, calls and content."""

from __future__ import annotations

from ....core.prompts.responses.answer_reader import AnswerReader
from ....core.prompts.responses.strict_calls import strict_calls
from ....core.protocol.constraints.structured_outputs import StructuredOutputsParams
from ....core.protocol.errors import RequestError
from ....core.protocol.outputs import RequestOutput
from ...serving.server_state import ServerState
from .chat_message import ChatMessage
from .chat_request import ChatCompletionRequest


class AskedAnswers:
    """Of one request. Answers that are kept to a form are told as they are. Raises RequestError if
    it brings tools and the model can't call any, or can't within that form."""

    def __init__(self, server: ServerState, body: ChatCompletionRequest) -> None:
        self._body, self._tools = body, body.callable_tools
        self._forced = body.forced_calls
        if self._tools:
            _check_tools(server, self._forced is not None)
        # An answer that has a form has no parts.
        reader = server.answers if body.asked_form is None else None
        told_apart = reader is not None and reader.template.reads(bool(self._tools))
        self._reader = reader if told_apart else None
        #: What keeps calls that an answer need not have to their schemas, if any are strict.
        self.form_of_calls = _form_of_calls(self._reader, body) if body.strict_tools else None

    @property
    def are_taken_apart(self) -> bool:
        """Whether their texts are to come with special tokens, by which that is done."""
        return self._reader is not None

    @property
    def are_text_alone(self) -> bool:
        """Whether neither thoughts nor calls are looked for in them."""
        return self._reader is None and self._forced is None

    def messages(self, output: RequestOutput) -> list[ChatMessage]:
        """Empty ones, for each of the answers."""
        if self._forced is not None:
            named = self._forced.name is not None
            return [
                ChatMessage(self._forced.parser(), ends_as_written=named) for _ in output.outputs
            ]
        if self._reader is None:
            return [ChatMessage(None) for _ in output.outputs]
        body = self._body
        parser = self._reader.parsers(
            output.prompt_token_ids,
            self._tools,
            one_call=body.parallel_tool_calls is False,
            skip_special_tokens=body.skip_special_tokens,
        )
        return [ChatMessage(parser(), body.include_reasoning) for _ in output.outputs]


def _check_tools(server: ServerState, are_forced: bool) -> None:
    if not server.inputs.tokenizer.takes_tools:
        raise RequestError("tools: the model's chat template has no place for tools", "tools")
    reader, wanted = server.answers, server.config.response_template
    if not are_forced and wanted != "none" and (reader is None or not reader.template.reads_calls):
        raise RequestError(
            "tools: it is not known how this model writes calls; start the server with a "
            "--response-template that says so, or with none to get answers as they are written",
            "tools",
        )


def _form_of_calls(
    reader: AnswerReader | None, body: ChatCompletionRequest
) -> StructuredOutputsParams:
    call = None if reader is None else reader.call_form
    if call is None:
        param = next(iter(body.strict_tools.values()))
        raise RequestError(
            f"{param} can only be true for this model where tool_choice makes a call of the "
            'answer: "required", or a function\'s name',
            param,
        )
    return strict_calls(call, body.callable_tools, body.strict_tools)
