"""Rendering of chat templates, by transformers' own renderer, which needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

_PROBE = "octavoprobe"
#: By which templates know whether the model is to think before it answers.
_THINKING_SWITCHES = ("enable_thinking", "thinking")
_NO_PARAMETERS = {"type": "object", "properties": {}}


class ChatTemplate:
    """source: Jinja text, or several by name, of which requests with tools use "tool_use" and
    others "default". special_tokens: by the names that templates know them by.

    The renderer is imported when it is first used, as that takes half a second.
    """

    def __init__(self, source: str | Mapping[str, str], special_tokens: Mapping[str, Any]) -> None:
        self.source = source
        self._special_tokens = special_tokens

    def render(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> str:
        """options: what the template is given besides. Raises whatever the template raises."""
        given = {**self._special_tokens, **options}
        text: str = self._renderer.apply_chat_template(list(messages), tokenize=False, **given)
        return text

    @cached_property
    def takes_parts(self) -> bool:
        """Whether the template understands a content that is a list of parts."""
        probe = [{"role": "user", "content": [{"type": "text", "text": _PROBE}]}]
        try:
            text = self.render(probe, {})
        except Exception:  # noqa: BLE001 - templates raise what they like
            return False
        return _PROBE in text and "'type'" not in text

    @cached_property
    def takes_tools(self) -> bool:
        """Whether the template writes the tools that it is given."""
        function = {"name": _PROBE, "description": _PROBE, "parameters": _NO_PARAMETERS}
        return _PROBE in self._probe({"tools": [{"type": "function", "function": function}]})

    @cached_property
    def thinking_switch(self) -> str | None:
        """The option that has the model think before it answers, or not; None if there is none."""
        answer = {"add_generation_prompt": True}
        for name in _THINKING_SWITCHES:
            if self._probe({**answer, name: True}) != self._probe({**answer, name: False}):
                return name
        return None

    @cached_property
    def answer_opening(self) -> str:
        """What the template writes before an answer; "" if it writes the same where none follows,
        or can't say."""
        before = self._probe({"add_generation_prompt": False})
        whole = self._probe({"add_generation_prompt": True})
        return whole[len(before) :] if before and whole.startswith(before) else ""

    def _probe(self, options: Mapping[str, Any]) -> str:
        """A short conversation; "" if the template refuses it."""
        content = [{"type": "text", "text": "?"}] if self.takes_parts else "?"
        try:
            return self.render([{"role": "user", "content": content}], options)
        except Exception:  # noqa: BLE001 - templates raise what they like
            return ""

    @cached_property
    def _renderer(self) -> Any:
        """A tokenizer of transformers without a vocabulary: its public way to render."""
        from tokenizers import Tokenizer
        from tokenizers.models import BPE
        from transformers import PreTrainedTokenizerFast

        tokenizer: Any = PreTrainedTokenizerFast  # not typed
        made = tokenizer(tokenizer_object=Tokenizer(BPE()))
        made.chat_template = self.source
        return made
