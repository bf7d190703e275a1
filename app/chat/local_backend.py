"""A model in this process that answers."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import msgspec

from ...core.checkpoints.find_checkpoint import find_checkpoint
from ...core.client.request_state import RequestState
from ...core.prompts.responses.answer_parser import AnswerParser
from ...core.protocol.config import EngineConfig
from ...core.protocol.errors import (
    RequestError,
    RequestFailedError,
    RequestTimeoutError,
    error_for,
)
from ...core.protocol.outputs import RequestOutput
from ...core.protocol.sampling_params import SamplingParams
from ..offline.llm import LLM
from ..offline.offline_run import OfflineRun
from .backend import ChatError, Piece
from .interrupts import held_interrupts

#: Of a conversation, in tokens, unless settings say otherwise: the model's own limit may need
#: many gigabytes of KV cache.
_LONGEST = 8192


class LocalBackend:
    """A `Backend`. Raises ConfigError or UnsupportedModelError if the model can't be loaded.

    name: what the model is called.
    """

    def __init__(self, config: EngineConfig, name: str) -> None:
        self.name = name
        self.limits = config.media_limits
        self._llm = LLM(**asdict(for_one_conversation(config)))
        # An answer may take what the context has left: a number would be refused once a long
        # conversation leaves less.
        params = self._llm.default_sampling_params(max_tokens=None)
        self.defaults: Mapping[str, Any] = msgspec.structs.asdict(params)

    def answer(
        self, messages: Sequence[Mapping[str, Any]], sampling: Mapping[str, Any]
    ) -> Generator[Piece, None, None]:
        """As `Backend` has it."""
        with held_interrupts() as check:
            try:
                given = {"max_tokens": None, **sampling}
                if self._llm.thought_reader is not None:
                    given["skip_special_tokens"] = False
                parser, sent = None, 0
                params = self._llm.default_sampling_params(**given)
                for state in _steps(self._llm, messages, params):
                    check()
                    output = state.to_output()
                    (completion,) = output.outputs
                    text, sent = completion.text[sent:], len(completion.text)
                    parser = parser or self._parser(output)
                    if text or completion.finish_reason:
                        yield _piece(parser, text, completion.finish_reason)
            except (RequestError, RequestFailedError, RequestTimeoutError) as error:
                raise ChatError(str(error)) from error

    def close(self) -> None:
        """As `Backend` has it."""
        self._llm.close()

    def _parser(self, output: RequestOutput) -> AnswerParser | None:
        reader = self._llm.thought_reader
        return None if reader is None else reader.parsers(output.prompt_token_ids)()


def _piece(parser: AnswerParser | None, text: str, finish_reason: str | None) -> Piece:
    if parser is None:
        return Piece(text, finish_reason)
    parts = parser.feed(text, last=finish_reason is not None)
    return Piece(parts.content, finish_reason, parts.reasoning)


def for_one_conversation(config: EngineConfig) -> EngineConfig:
    """With a bound on its length, and so on the KV cache's memory, if neither has one yet. Raises
    ConfigError if there is no such model."""
    if config.max_model_len is not None or config.kv_cache_memory is not None:
        return config
    model = find_checkpoint(config.model, config.mmproj).config
    limit = (model.get("text_config") or model).get("max_position_embeddings")
    return replace(config, max_model_len=_LONGEST) if limit and limit > _LONGEST else config


def _steps(
    llm: LLM, messages: Sequence[Mapping[str, Any]], params: SamplingParams
) -> Iterator[RequestState]:
    """The request's state after each step of the engine, those that compute the prompt among
    them, so that Ctrl-C is heard there, too. What is left early is aborted."""
    with OfflineRun(llm._engine, llm._events) as run:
        state = run.add(llm.prepare_chat(messages, params))
        while not state.finished:
            run.step()
            if state.failure is not None:
                raise error_for(state.failure)
            yield state
