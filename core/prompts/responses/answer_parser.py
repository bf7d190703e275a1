"""Takes an answer apart while it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...contracts.specs import JsonDict
from .response_template import CALLS, CONTENT, REASONING, FunctionCall, ResponseTemplate
from .skipped_texts import SkippedTexts


class AnswerParts(NamedTuple):
    """What is new of each part."""

    content: str
    reasoning: str
    calls: list[FunctionCall]


class AnswerParser:
    """The parts of one answer, as far as it is written.

    A call is told when it is whole. One that is malformed, or that the answer breaks off in, is
    content, as it was written. What is thought, and what is said before and after it or a call,
    is told without the space around it; an answer of content alone is told as it is.
    """

    def __init__(
        self,
        template: ResponseTemplate,
        begun: str,
        skipped: SkippedTexts,
        tools: Sequence[JsonDict],
        one_call: bool,
    ) -> None:
        """begun: what the prompt has of the answer already. skipped: texts that are left out.
        tools: that may be called; calls are looked for only if there are any. one_call: whether
        those after the first are left out."""
        self._template, self._tools, self._one_call = template, tools, one_call
        self._skipped, self._held = skipped, ""
        self._content, self._reasoning = _Text(), _Text()
        self._reasoning.begin()
        self._parser = self._begin(template.splitting(bool(tools)), begun)
        self.num_calls = 0

    def feed(self, text: str, last: bool = False) -> AnswerParts:
        """Go on with more of the answer, special tokens as text. last: nothing follows."""
        read, self._held = self._skipped.cut(self._held + text, last)
        events = self._parser.feed(read)
        if last:
            events += self._parser.finalize()[1]
        content, reasoning, calls = "", "", list[FunctionCall]()
        for event in events:
            match event["field"], event["type"]:
                case field, "region_chunk" if field == CONTENT:
                    content += self._content.add(event["text"])
                case field, "region_chunk" if field == REASONING:
                    reasoning += self._reasoning.add(event["text"])
                case field, "region_open" | "region_close" if field == REASONING:
                    self._content.begin()
                    self._reasoning.begin()
                case field, "region_close" if field == CALLS:
                    text = "".join(event["value"][part] for part in ("open", "body", "close"))
                    found = self._template.read_calls(text, event["value"]["close"], self._tools)
                    calls += found
                    content += self._content.begin() if found else self._content.add(text)
        if last:
            content += self._content.held
        return AnswerParts(content, reasoning, self._counted(calls))

    def _begin(self, splitting: dict[str, Any], begun: str) -> Any:
        """transformers' parser, in the part that the prompt has begun."""
        from transformers.utils.chat_parsing import ResponseParser

        parser: Any = ResponseParser(splitting, prefix=begun)
        last = parser.initial_events[-1] if parser.initial_events else {}
        is_closed = last.get("type") == "region_close"
        if is_closed:
            self._content.begin()
        if last.get("field") == REASONING and not is_closed:
            return parser
        # Space that the prompt ends with might be told with what follows.
        return ResponseParser(splitting, prefix=begun.rstrip())

    def _counted(self, calls: list[FunctionCall]) -> list[FunctionCall]:
        if self._one_call:
            calls = calls[: 1 - self.num_calls]
        self.num_calls += len(calls)
        return calls


class _Text:
    """A part that may be written in several pieces, each told without the space around it."""

    def __init__(self) -> None:
        self.held = ""
        self._begins = self._has_begun = False

    def begin(self) -> str:
        """A new piece follows; nothing is told."""
        self.held, self._begins = "", True
        return ""

    def add(self, text: str) -> str:
        """What can be told now."""
        text = self.held + text
        if self._begins:
            text = text.lstrip()
            if text and self._has_begun:
                text = "\n" + text
        told = text.rstrip()
        self.held = text[len(told) :]
        if told:
            self._begins, self._has_begun = False, True
        return told
