"""Reads a model's answers: what one prompt begins, and tokens that are no text, left aside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cached_property

from ...contracts.specs import CallForm, JsonDict
from ...protocol.outputs import RequestOutput
from ..tokenizer import Tokenizer
from .answer_parser import AnswerParser
from .response_template import ResponseTemplate
from .skipped_texts import SkippedTexts

#: Tokens at a prompt's end among which an answer's beginning is looked for first.
_TAIL = 128
_NOTHING = SkippedTexts(())


def reader_of_thoughts(reader: AnswerReader | None) -> AnswerReader | None:
    """The reader, if an answer without calls may have anything beside what it says."""
    return reader if reader is not None and reader.template.reads(calls=False) else None


class AnswerReader:
    """A model's way to write answers, and its tokenizer, by which they are read."""

    def __init__(self, template: ResponseTemplate, tokenizer: Tokenizer) -> None:
        self.template = template
        self._tokenizer = tokenizer

    def prepare(self) -> None:
        """Do now what would else be done for the first request."""
        _ = self._opening, self._others

    def parsers(
        self,
        prompt_token_ids: Sequence[int],
        tools: Sequence[JsonDict] = (),
        one_call: bool = False,
        skip_special_tokens: bool = True,
    ) -> Callable[[], AnswerParser]:
        """Makes one for each answer to a prompt. Their texts are to come with special tokens; those
        that are no marks are left out of the parts, if skip_special_tokens. See AnswerParser."""
        others = self._others[bool(tools)]
        skipped = others if skip_special_tokens else _NOTHING
        begun, _ = others.cut(self._begun_in(prompt_token_ids), last=True)
        return lambda: AnswerParser(self.template, begun, skipped, tools, one_call)

    def content(self, output: RequestOutput) -> str:
        """Of a request's first answer, whose text has special tokens: what is no thought."""
        parser = self.parsers(output.prompt_token_ids)()
        return parser.feed(output.outputs[0].text, last=True).content

    @property
    def call_form(self) -> CallForm | None:
        """How the model writes calls, if that is known, and if neither in that nor in thoughts are
        special tokens, as no form has any."""
        marks = json.dumps(self.template.splitting(calls=True), ensure_ascii=False)
        has_special = any(text in marks for text in self._tokenizer.special_texts)
        return None if has_special else self.template.call_form

    def _begun_in(self, token_ids: Sequence[int]) -> str:
        """What a prompt has of the answer already, such as a mark that opens thoughts."""
        if not self._opening:
            return ""
        # Most prompts end where the answer begins, and long ones take long to decode.
        for part in (token_ids[-_TAIL:], token_ids):
            text = self._tokenizer.decode(part, skip_special_tokens=False)
            position = text.rfind(self._opening)
            if position >= 0:
                return text[position + len(self._opening) :]
        return ""

    @cached_property
    def _opening(self) -> str:
        """What the chat template writes before an answer, but for the answer's own marks."""
        text = self._tokenizer.answer_opening
        found = (re.search(opens, text, re.DOTALL) for opens in self.template.openings)
        return text[: min((match.start() for match in found if match), default=len(text))]

    @cached_property
    def _others(self) -> tuple[SkippedTexts, SkippedTexts]:
        """Special tokens that are no marks of an answer's parts, without calls and with them."""
        without, with_calls = (
            json.dumps(self.template.splitting(calls), ensure_ascii=False).replace("\\", "")
            for calls in (False, True)
        )
        texts = self._tokenizer.special_texts
        return (
            SkippedTexts([text for text in texts if text not in without]),
            SkippedTexts([text for text in texts if text not in with_calls]),
        )
