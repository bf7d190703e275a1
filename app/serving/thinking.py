"""Whether a model thinks before it answers, where a request says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ...core.prompts.responses.answer_reader import reader_of_thoughts
from ...core.protocol.errors import RequestError
from .server_state import ServerState


class AskedThinking(NamedTuple):
    """template_kwargs: what the chat template is given. is_told: whether thoughts are told."""

    template_kwargs: dict[str, bool]
    is_told: bool

    @classmethod
    def read(cls, server: ServerState, thinks: bool, param: str) -> AskedThinking:
        """By the switch that the model's chat template has. A model without one that thinks all
        the same does so, and its thoughts are left out if they are not wanted.

        Raises RequestError, which names `param`, if a model is to think that marks no thoughts.
        """
        switch = server.inputs.tokenizer.thinking_switch
        if switch is not None:
            return cls({switch: thinks}, thinks)
        if thinks and reader_of_thoughts(server.answers) is None:
            message = f"{param}: model {server.model_name!r} does not think before it answers"
            raise RequestError(f"{message}; leave it out", param)
        return cls({}, thinks)

    def chat_fields(self, kwargs: Mapping[str, Any], are_omitted: bool = False) -> dict[str, Any]:
        """Those of a chat. kwargs: that its template is given besides. are_omitted: whether
        thoughts are to be left out. Raises RequestError if both say whether it thinks."""
        for name in self.template_kwargs:
            if name in kwargs:
                raise RequestError(
                    f"chat_template_kwargs.{name} says what thinking says; leave one of them out",
                    f"chat_template_kwargs.{name}",
                )
        return {
            "chat_template_kwargs": {**kwargs, **self.template_kwargs},
            "include_reasoning": self.is_told and not are_omitted,
        }
