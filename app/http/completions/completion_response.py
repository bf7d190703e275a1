"""The bodies of answers to POST /v1/completions."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ....core.prompts.tokenizer import Tokenizer
from ....core.protocol.outputs import CompletionOutput, RequestOutput
from ..prompt_logprobs import prompt_logprobs
from ..request_timings import timings
from ..usage import usage
from .completion_request import CompletionRequest
from .token_table import TokenTable


class CompletionResponses:
    """Writes what is answered to one request. Choices are numbered through all of its prompts.

    prompts: as the request has them.
    """

    def __init__(
        self,
        request_id: str,
        model_name: str,
        tokenizer: Tokenizer,
        body: CompletionRequest,
        prompts: Sequence[str | list[int]],
    ) -> None:
        self._head = {
            "id": request_id,
            "object": "text_completion",
            "created": int(time.time()),
            "model": model_name,
        }
        self._tokenizer = tokenizer
        self._body = body
        self._prompts = prompts
        self._choices: defaultdict[int, _Choice] = defaultdict(self._begin)

    def whole(self, outputs: Sequence[RequestOutput]) -> dict[str, Any]:
        """The whole answer. outputs: of each prompt."""
        told = list(map(self._told, outputs))
        choices = [
            {**choice, **prompt_logprobs(output, self._tokenizer.token_bytes)}
            if self._body.prompt_logprobs is not None
            else choice
            for i, output in enumerate(told)
            for choice in self._next_choices(i, output)
        ]
        return self._head | {"choices": choices, **self._said_at_the_end(told)}

    def chunks(self, prompt_index: int, output: RequestOutput) -> list[dict[str, Any]]:
        """Of a growing output, what is new since the last call."""
        choices = self._next_choices(prompt_index, self._told(output))
        return [self._head | {"choices": [choice]} for choice in choices]

    def last_chunk(
        self, outputs: Sequence[RequestOutput], include_usage: bool
    ) -> dict[str, Any] | None:
        """What is said of all answers at the end of a stream; None if nothing was asked for."""
        said = self._said_at_the_end(list(map(self._told, outputs)))
        if not include_usage:
            del said["usage"]
        return self._head | {"choices": [], **said} if said else None

    def _said_at_the_end(self, outputs: Sequence[RequestOutput]) -> dict[str, Any]:
        took = {"timings": timings(outputs[0])} if self._body.include_timings else {}
        return {"usage": usage(*outputs), **took}

    def _next_choices(self, prompt_index: int, output: RequestOutput) -> list[dict[str, Any]]:
        found = []
        for answer in output.outputs:
            index = prompt_index * len(output.outputs) + answer.index
            echoed = partial(self._echoed, prompt_index)
            said = self._choices[index].next(echoed, output, answer)
            if said is not None:
                found.append({"index": index, **said})
        return found

    def _echoed(self, prompt_index: int) -> str:
        """What the text of a choice begins with."""
        if not self._body.echo:
            return ""
        prompt = self._prompts[prompt_index]
        if isinstance(prompt, str):
            return prompt
        return self._tokenizer.decode(prompt, self._body.skip_special_tokens)

    def _begin(self) -> _Choice:
        body = self._body
        if body.logprobs is None:
            return _Choice(None, echoes_logprobs=False)
        table = TokenTable(self._tokenizer.token_bytes, not body.skip_special_tokens)
        return _Choice(table, echoes_logprobs=body.echo)

    def _told(self, output: RequestOutput) -> RequestOutput:
        """Without the token that was generated as there has to be one."""
        if not self._body.asks_for_the_prompt_alone:
            return output
        answers = [
            replace(
                answer,
                text="",
                token_ids=[],
                logprobs=None if answer.logprobs is None else [],
                finish_reason=answer.finish_reason and "length",
                stop_reason=None,
            )
            for answer in output.outputs
        ]
        return replace(output, outputs=answers)


class _Choice:
    """What was told of one choice. table: None if log-probabilities were not asked for."""

    def __init__(self, table: TokenTable | None, echoes_logprobs: bool) -> None:
        self._table = table
        self._echoes_logprobs = echoes_logprobs
        self._begun = self._ended = False
        self._sent_text = self._sent_tokens = 0

    def next(
        self, echoed: Callable[[], str], output: RequestOutput, answer: CompletionOutput
    ) -> dict[str, Any] | None:
        """What is new since the last call; None if there is nothing. echoed: gives what the text
        begins with."""
        prompt = output.prompt_logprobs if self._echoes_logprobs else []
        if self._ended or prompt is None:
            return None
        text, tables = answer.text[self._sent_text :], []
        if not self._begun:
            beginning = echoed()
            text = beginning + text
            if self._table is not None and prompt:
                tables.append(self._table.of_prompt(beginning, output.prompt_token_ids, prompt))
            if self._table is not None:
                self._table.go_on_with(output.text_context)
        token_ids = answer.token_ids[self._sent_tokens :]
        if self._table is not None and answer.logprobs is not None:
            new = answer.logprobs[self._sent_tokens :]
            tables.append(self._table.of_answer(token_ids, new, answer.ended_by_token))
        self._ended = answer.finish_reason is not None
        has_rows = any(table["tokens"] for table in tables)
        if not (text or has_rows or self._ended):
            return None
        self._begun = True
        self._sent_text, self._sent_tokens = len(answer.text), len(answer.token_ids)
        return {
            "text": text,
            "logprobs": _joined(tables) if tables else None,
            "finish_reason": answer.finish_reason,
            "stop_reason": answer.stop_reason,
        }


def _joined(tables: Sequence[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    return {name: [cell for table in tables for cell in table[name]] for name in tables[0]}
