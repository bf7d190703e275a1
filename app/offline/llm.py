"""The offline class: prompts in, finished outputs back, in order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from ...core.checkpoints.find_checkpoint import find_checkpoint
from ...core.client.beam_search import BeamSearch
from ...core.client.in_process_engine import InProcessEngine
from ...core.encoder_store.open_tier import open_tier
from ...core.engine.engine_core import EngineCore
from ...core.observe.request_events import RequestEvents
from ...core.prompts.image_part import ImagePart
from ...core.prompts.input_processor import InputProcessor, RequestOptions
from ...core.protocol.config import EngineConfig
from ...core.protocol.errors import RequestError, error_for
from ...core.protocol.messages import EngineRequest, EngineStats
from ...core.protocol.outputs import RequestOutput
from ...core.protocol.sampling_params import BeamSearchParams, SamplingParams
from ...core.registry.registry import get_registry
from .. import DEMO_MODEL
from ..serving.chat_messages import read_messages, template_options
from ..serving.tools import read_tools
from .offline_engine import OfflineEngine
from .offline_run import OfflineRun
from .pictures import PictureReader
from .request_stream import stream

T = TypeVar("T")
Prompt = str | Mapping[str, Any]


class LLM:
    """A model in this process. Keyword arguments are the fields of EngineConfig.

    Raises ConfigError or UnsupportedModelError if the model can't be loaded.
    """

    def __init__(self, model: str | Path = DEMO_MODEL, **settings: Any) -> None:
        self._config = EngineConfig.of(str(model), settings)
        checkpoint = find_checkpoint(self._config.model)
        registry = get_registry()
        self._inputs = InputProcessor(
            checkpoint, registry, self._config.max_image_tokens, self._config.model_impl
        )
        self._core = EngineCore(self._config, checkpoint, registry)
        self._engine = OfflineEngine(InProcessEngine(self._core), self._inputs.tokenizer)
        self._pictures = PictureReader(self._config, open_tier(self._config, registry))
        self._facts = self._core.facts
        self._events = RequestEvents(registry)
        self._ids = itertools.count()

    @property
    def num_free_blocks(self) -> int:
        """KV blocks that no request holds."""
        return self._core.num_free_blocks

    def stats(self) -> EngineStats:
        """What the engine holds, and what it has counted: cache hits, preemptions, images."""
        return self._core.stats()

    def close(self) -> None:
        """Wait until features that are still to be written to the encoder store are."""
        self._core.close()

    def default_sampling_params(self, **overrides: Any) -> SamplingParams:
        """What the checkpoint's generation config asks for, with fields replaced."""
        return SamplingParams(**{**self._inputs.default_sampling, **overrides})

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        priority: Sequence[int] | None = None,
    ) -> list[RequestOutput]:
        """Complete prompts: strings, {"prompt_token_ids": […]} or {"prompt": …,
        "multi_modal_data": {"image": picture or list}}; the latter two may have a "cache_salt".

        priority: one for each prompt, lower first, for scheduling_policy="priority".
        Raises RequestError for a prompt that can't be served, before any of them runs.
        """
        listed = _list_prompts(prompts)
        params = self._params_for(len(listed), sampling_params)
        priorities = [0] * len(listed) if priority is None else list(priority)
        if len(priorities) != len(listed):
            raise RequestError(f"{len(priorities)} priorities for {len(listed)} prompts")
        if any(priorities) and self._config.scheduling_policy != "priority":
            raise RequestError('priority needs LLM(…, scheduling_policy="priority")', "priority")
        return self.run([self._prepare(p, params[i], priorities[i]) for i, p in enumerate(listed)])

    def beam_search(
        self, prompts: Prompt | Sequence[Prompt], params: BeamSearchParams
    ) -> list[RequestOutput]:
        """The params.beam_width best completions of each prompt, the best first.

        Raises RequestError for a prompt that can't be served.
        """
        limit = SamplingParams(max_tokens=params.max_tokens)
        requests = [self._prepare(prompt, limit) for prompt in _list_prompts(prompts)]
        searches = [BeamSearch(r, params, self._facts.eos_token_ids) for r in requests]
        while running := [search for search in searches if not search.done]:
            batches = [search.next_requests() for search in running]
            together = [request for batch in batches for request in batch]
            outputs = iter(_run(OfflineRun(self._engine), together))
            for search, batch in zip(running, batches, strict=True):
                answers = [next(outputs).outputs[0] for _ in batch]
                search.update([answer.logprobs[0] for answer in answers if answer.logprobs])
        return [search.to_output(self._inputs.tokenizer) for search in searches]

    def chat(
        self,
        messages: Sequence[Any],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[RequestOutput]:
        """Answer one conversation of OpenAI-style messages, or each of a list of them.

        Images may be data: URLs in `image_url` parts, or {"type": "image", "image": a picture
        or a path}. tools: OpenAI-style definitions; they and chat_template_kwargs are given to
        the chat template. Raises RequestError for a conversation that can't be served.
        """
        options = template_options(read_tools(tools), chat_template_kwargs)
        single = bool(messages) and isinstance(messages[0], Mapping)
        conversations = [messages] if single else list(messages)
        params = self._params_for(len(conversations), sampling_params)
        return self.run(
            [self.prepare_chat(c, p, options) for c, p in zip(conversations, params, strict=True)]
        )

    def prepare_chat(
        self,
        messages: Any,
        params: SamplingParams,
        template_options: Mapping[str, Any] | None = None,
    ) -> EngineRequest:
        """A request for one conversation, to be `run` with others. Raises RequestError."""
        rendered, parts = read_messages(messages, allow_local=True)
        token_ids = self._inputs.encode_chat(rendered, template_options)
        return self._build(token_ids, parts, params, RequestOptions())

    def encode_images(self, messages: Any) -> list[Tensor]:
        """What the decoder sees of each distinct image of a conversation, [num_features,
        hidden_size]. Raises RequestError for a conversation that can't be served."""
        request = self.prepare_chat(messages, SamplingParams(max_tokens=1))
        return self._engine.encode_images(request)

    def run(self, requests: Sequence[EngineRequest]) -> list[RequestOutput]:
        """Run prepared requests together.

        Raises RequestError, RequestTimeoutError or RequestFailedError if one of them fails.
        """
        return _run(OfflineRun(self._engine, self._events), requests)

    def stream(
        self, items: Iterable[T], prepare: Callable[[T], EngineRequest]
    ) -> Iterator[RequestOutput | Exception]:
        """Run a request for each of any number of items, such as files, which `prepare` makes in
        other threads, several at once, ahead of those that run. The model may be used otherwise
        between two outputs, and by `prepare`.

        Gives outputs in order; for an item whose request can't be made, or fails, the error:
        RequestError, RequestTimeoutError or RequestFailedError.
        """
        for ended in stream(OfflineRun(self._engine, self._events), items, prepare):
            if isinstance(ended, RequestError):
                yield ended
            else:
                failure = ended.failure
                yield ended.to_output() if failure is None else error_for(failure)

    def _params_for(
        self, count: int, given: SamplingParams | Sequence[SamplingParams] | None
    ) -> list[SamplingParams]:
        if given is None or isinstance(given, SamplingParams):
            return [given or self.default_sampling_params()] * count
        if len(given) != count:
            raise RequestError(f"{len(given)} sampling params for {count} prompts")
        return list(given)

    def _read_prompt(self, prompt: Prompt) -> tuple[list[int], list[ImagePart]]:
        if isinstance(prompt, str):
            return self._inputs.tokenizer.encode(prompt), []
        token_ids = prompt.get("prompt_token_ids")
        if token_ids is None:
            if not isinstance(prompt.get("prompt"), str):
                raise RequestError("a prompt needs 'prompt' or 'prompt_token_ids'", "prompt")
            token_ids = self._inputs.tokenizer.encode(prompt["prompt"])
        given = (prompt.get("multi_modal_data") or {}).get("image", [])
        pictures = given if isinstance(given, list | tuple) else [given]
        return list(token_ids), [
            ImagePart(f"multi_modal_data.image[{i}]", picture=picture)
            for i, picture in enumerate(pictures)
        ]

    def _prepare(self, prompt: Prompt, params: SamplingParams, priority: int = 0) -> EngineRequest:
        salt = "" if isinstance(prompt, str) else str(prompt.get("cache_salt") or "")
        options = RequestOptions(priority=priority, cache_salt=salt)
        return self._build(*self._read_prompt(prompt), params, options)

    def _build(
        self,
        token_ids: list[int],
        parts: list[ImagePart],
        params: SamplingParams,
        options: RequestOptions,
    ) -> EngineRequest:
        images = self._pictures.read(parts, self._inputs)
        request_id = str(next(self._ids))
        options = options.with_defaults(self._config)
        built = self._inputs.build(request_id, token_ids, images, params, self._facts, options)
        return self._pictures.load(built)


def _run(run: OfflineRun, requests: Sequence[EngineRequest]) -> list[RequestOutput]:
    """Raises the first failure."""
    with run:
        states = [run.add(request) for request in requests]
        while run.num_unfinished:
            run.step()
    for state in states:
        if state.failure is not None:
            raise error_for(state.failure)
    return [state.to_output() for state in states]


def _list_prompts(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    return [prompts] if isinstance(prompts, str | Mapping) else list(prompts)
