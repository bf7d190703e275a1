"""A model in this process with what makes requests for it: what LLM and AsyncLLM share."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from torch import Tensor

from ...core.checkpoints.find_checkpoint import find_checkpoint
from ...core.client.beam_search import BeamSearch
from ...core.client.in_process_engine import InProcessEngine
from ...core.encoder_store.open_tier import open_tier
from ...core.engine.engine_core import EngineCore
from ...core.observe.request_events import RequestEvents
from ...core.prompts.choices import choices_automaton
from ...core.prompts.image_part import ImagePart
from ...core.prompts.input_processor import InputProcessor, RequestOptions
from ...core.prompts.responses.answer_reader import AnswerReader, reader_of_thoughts
from ...core.prompts.responses.find_answer_reader import find_answer_reader
from ...core.protocol.config import ConfigError, EngineConfig
from ...core.protocol.constraints.token_automaton import TokenAutomaton
from ...core.protocol.errors import RequestError
from ...core.protocol.messages import EngineRequest, EngineStats, MediaPayload
from ...core.protocol.sampling_params import BeamSearchParams, SamplingParams
from ...core.registry.registry import get_registry
from ...core.system.mapped_pages import unmap_read_pages
from ...core.system.memory import return_freed_memory
from .. import DEMO_MODEL
from ..serving.chat_messages import read_messages, template_options
from ..serving.intake_config import IntakeConfig
from ..serving.tools import read_tools
from .beam_searches import BeamSearches
from .model_life import ModelLife
from .offline_engine import OfflineEngine
from .offline_run import OfflineRun
from .one_of_many import naming_index
from .pictures import PictureReader
from .prompts import Prompt, is_conversation, read_prompt
from .url_reader import UrlReader

SamplingChoice = SamplingParams | Sequence[SamplingParams] | None


class LoadedModel:
    """Keyword arguments are the fields of EngineConfig, and where images may be fetched from.

    allowed_media_domains: hosts, such as "example.com"; none is no fetching.
    allowed_media_networks: of private addresses that those hosts may have, such as "10.1.0.0/16".
    media_timeout: seconds that fetching an image may take.
    Raises ConfigError or UnsupportedModelError if the model can't be loaded, RuntimeError in a
    process that was forked from one that has loaded a model.
    """

    def __init__(
        self,
        model: str | Path = DEMO_MODEL,
        *,
        allowed_media_domains: Sequence[str] = (),
        allowed_media_networks: Sequence[str] = (),
        media_timeout: float = IntakeConfig.media_timeout,
        **settings: Any,
    ) -> None:
        self._config = EngineConfig.of(str(model), settings)
        if self._config.response_template not in ("auto", "none"):
            raise ConfigError(
                "response_template is for servers: here answers are told as they are written"
            )
        self._life = ModelLife(type(self).__name__)
        urls = UrlReader.of(
            allowed_media_domains,
            allowed_media_networks,
            media_timeout,
            self._config.max_image_bytes,
        )
        unmap_read_pages()  # by importing torch
        self._checkpoint = checkpoint = find_checkpoint(self._config.model, self._config.mmproj)
        registry = get_registry()
        self._inputs = InputProcessor(
            checkpoint,
            registry,
            self._config.max_image_tokens,
            self._config.model_impl,
            self._config.structured_outputs_backend,
        )
        self._core = EngineCore(self._config, checkpoint, registry)
        self._engine = OfflineEngine(
            InProcessEngine(self._core), self._inputs.tokenizer, self._life
        )
        self._pictures = PictureReader(self._config, open_tier(self._config, registry), urls)
        self._facts = self._core.facts
        self._events = RequestEvents(registry)
        self._ids = itertools.count()
        self._tokenizer: Any = None

    def __repr__(self) -> str:
        state = "closed" if self._life.closed else f"{self._facts.num_blocks} KV blocks"
        return (
            f"<{type(self).__name__} {self._config.model!r}, {self._facts.dtype}, "
            f"max_model_len {self._facts.max_model_len}, {state}>"
        )

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        self._life.refuse_pickle(
            "pickle its config instead, and make another one from that: "
            f"{name}(**dataclasses.asdict(config))"
        )

    @property
    def config(self) -> EngineConfig:
        """Its settings. They can be pickled."""
        return self._config

    @property
    def num_free_blocks(self) -> int:
        """KV blocks that no request holds."""
        self._life.check()
        return self._core.num_free_blocks

    def stats(self) -> EngineStats:
        """What the engine holds, and what it has counted: cache hits, preemptions, images."""
        self._life.check()
        return self._core.stats()

    def default_sampling_params(self, **overrides: Any) -> SamplingParams:
        """What the checkpoint's generation config asks for, with fields replaced. Its stop strings
        are left out beside structured_outputs, which they could end in their midst."""
        defaults = self._inputs.default_sampling
        if overrides.get("structured_outputs") is not None:
            defaults["stop"] = ()
        return SamplingParams(**{**defaults, **overrides})

    def choices_automaton(self, choices: Sequence[str]) -> TokenAutomaton:
        """For SamplingParams(token_automaton=…): answers are one of the choices, perhaps after a
        space. Raises RequestError for choices that can't be answers."""
        self._life.check()
        return choices_automaton(choices, self._inputs.tokenizer)

    @cached_property
    def thought_reader(self) -> AnswerReader | None:
        """Tells what its answers say from its thoughts; their texts must come with special tokens.
        None if they are to be told as they are written. Raises ConfigError."""
        wanted, tokenizer = self._config.response_template, self._inputs.tokenizer
        reader = find_answer_reader(wanted, self._checkpoint, tokenizer, get_registry())
        return reader_of_thoughts(reader)

    def prepare_tokenizer(self) -> None:
        """Do now what the first conversation would else wait for, for a second or so."""
        self._life.check()
        self._inputs.tokenizer.prepare()

    def _get_tokenizer(self) -> Any:
        self._life.check()
        if self._tokenizer is None:
            self._tokenizer = self._inputs.tokenizer.to_transformers()
        return self._tokenizer

    def _close(self) -> None:
        if not self._life.close():
            return
        self._stop_threads()
        self._engine.close()
        self._core.close()
        self._pictures.close()
        del self._core
        # What the model is made of refers to itself here and there.
        gc.collect()
        return_freed_memory()

    def _stop_threads(self) -> None:
        """Of a class that has its own."""

    def _prepare_prompts(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingChoice,
        priority: Sequence[int] | None = None,
    ) -> list[EngineRequest]:
        self._life.check()
        listed = _list_prompts(prompts)
        params = self._params_for(len(listed), sampling_params)
        priorities = [0] * len(listed) if priority is None else list(priority)
        if len(priorities) != len(listed):
            raise RequestError(f"{len(priorities)} priorities for {len(listed)} prompts")
        self._check_priority(priorities)

        def prepare(index: int) -> EngineRequest:
            return self._prepare(listed[index], params[index], priorities[index])

        single = isinstance(prompts, str | Mapping)
        return _prepare_each("prompts", len(listed), prepare, single)

    def _prepare_chats(
        self,
        messages: Sequence[Any],
        sampling_params: SamplingChoice,
        tools: Sequence[Mapping[str, Any]] | None,
        chat_template_kwargs: Mapping[str, Any] | None,
    ) -> list[EngineRequest]:
        self._life.check()
        options = template_options(read_tools(tools), chat_template_kwargs)
        single = is_conversation(messages)
        conversations = [messages] if single else list(messages)
        params = self._params_for(len(conversations), sampling_params)

        def prepare(index: int) -> EngineRequest:
            return self.prepare_chat(conversations[index], params[index], options)

        return _prepare_each("conversations", len(conversations), prepare, single)

    def _prepare_one(
        self,
        prompt: Prompt | Sequence[Any],
        sampling_params: SamplingParams | None,
        priority: int,
        tools: Sequence[Mapping[str, Any]] | None,
        chat_template_kwargs: Mapping[str, Any] | None,
    ) -> EngineRequest:
        """Of a prompt, or of a conversation."""
        self._life.check()
        self._check_priority([priority])
        (params,) = self._params_for(1, sampling_params)
        if is_conversation(prompt):
            options = template_options(read_tools(tools), chat_template_kwargs)
            return self.prepare_chat(prompt, params, options, priority)
        if tools or chat_template_kwargs:
            given = "tools" if tools else "chat_template_kwargs"
            raise RequestError(f"{given} needs messages; a prompt has no chat template", given)
        return self._prepare(prompt, params, priority)

    def _prepare_beams(
        self, prompts: Prompt | Sequence[Prompt], params: BeamSearchParams
    ) -> BeamSearches:
        limit = SamplingParams(max_tokens=params.max_tokens)
        requests = self._prepare_prompts(prompts, limit)
        eos_token_ids = self._facts.eos_token_ids
        return BeamSearches([BeamSearch(r, params, eos_token_ids) for r in requests])

    def prepare_chat(
        self,
        messages: Any,
        params: SamplingParams,
        template_options: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> EngineRequest:
        """A request for one conversation, to be `run` with others. Raises RequestError."""
        self._life.check()
        rendered, parts = read_messages(messages, allow_local=True)
        token_ids = self._inputs.encode_chat(rendered, template_options)
        return self._build(token_ids, parts, params, RequestOptions(priority=priority))

    def prepare_chats(
        self, conversations: Sequence[tuple[Any, SamplingParams]]
    ) -> list[EngineRequest]:
        """Requests for conversations about the same images, each of which is read and preprocessed
        once for all of them. Raises RequestError."""
        self._life.check()
        loaded: dict[str, MediaPayload] = {}
        requests = []
        for messages, params in conversations:
            rendered, parts = read_messages(messages, allow_local=True)
            token_ids = self._inputs.encode_chat(rendered)
            requests.append(self._build(token_ids, parts, params, RequestOptions(), loaded))
        return requests

    def _prepare(self, prompt: Any, params: SamplingParams, priority: int = 0) -> EngineRequest:
        read = read_prompt(prompt, self._inputs.tokenizer)
        options = RequestOptions(priority=priority, cache_salt=read.cache_salt, continues_text=True)
        return self._build(read.token_ids, read.images, params, options)

    def _build(
        self,
        token_ids: list[int],
        parts: list[ImagePart],
        params: SamplingParams,
        options: RequestOptions,
        loaded: dict[str, MediaPayload] | None = None,
    ) -> EngineRequest:
        """loaded: payloads that other requests have loaded, by media key, and this one adds to."""
        started = time.monotonic()
        images = self._pictures.read(parts, self._inputs)
        reading = time.monotonic() - started
        request_id = str(next(self._ids))
        options = options.with_defaults(self._config)
        built = self._inputs.build(request_id, token_ids, images, params, self._facts, options)
        started = time.monotonic()
        request = self._pictures.load(built, loaded)
        seconds = reading + time.monotonic() - started if images else 0.0
        return msgspec.structs.replace(request, image_seconds=seconds)

    def _encode_images(self, messages: Any) -> list[Tensor]:
        request = self.prepare_chat(messages, SamplingParams(max_tokens=1))
        return self._engine.encode_images(request)

    def _begin_run(self) -> OfflineRun:
        """Of which plugins are told."""
        return OfflineRun(self._engine, self._events)

    def _begin_round(self) -> OfflineRun:
        """Of a beam search, whose requests nobody made."""
        return OfflineRun(self._engine)

    def _params_for(self, count: int, given: SamplingChoice) -> list[SamplingParams]:
        if given is None or isinstance(given, SamplingParams):
            return [given or self.default_sampling_params()] * count
        if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
            raise RequestError(
                f"sampling_params must be SamplingParams, one or a list, not {type(given)}",
                "sampling_params",
            )
        if len(given) != count:
            raise RequestError(f"{len(given)} sampling params for {count} prompts")
        return list(given)

    def _check_priority(self, priorities: Sequence[int]) -> None:
        if any(priorities) and self._config.scheduling_policy != "priority":
            raise RequestError('priority needs LLM(…, scheduling_policy="priority")', "priority")


def _prepare_each(
    name: str, count: int, prepare: Callable[[int], EngineRequest], single: bool
) -> list[EngineRequest]:
    """Raises RequestError, which names the one of many at fault, before any of them runs."""
    if single:
        return [prepare(0)]
    requests = []
    for index in range(count):
        with naming_index(name, index):
            requests.append(prepare(index))
    return requests


def _list_prompts(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    return [prompts] if isinstance(prompts, str | Mapping) else list(prompts)
