"""The engine proper: loads a model and advances all its requests, a step at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from torch import Tensor

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.generation_defaults import GenerationDefaults
from ..models.preflight import check_before_loading
from ..protocol.config import EngineConfig
from ..protocol.messages import (
    Abort,
    EngineFacts,
    EngineOutput,
    EngineRequest,
    EngineStats,
    Failure,
    FailureKind,
    MediaEvents,
    MediaInput,
)
from ..protocol.model_facts import ModelFacts
from ..protocol.scheduler_output import EncodeError
from ..registry.registry import Registry
from ..system.garbage import paused_collections
from ..system.log_context import about_requests
from .execution.in_process_executor import InProcessExecutor
from .executor import Executor
from .scheduling.encoder_cache_manager import EncoderCacheManager
from .scheduling.kv_cache_manager import KVCacheManager
from .scheduling.request import Request, RequestStatus
from .scheduling.scheduler import Scheduler
from .scheduling.step_trace import StepTrace

logger = logging.getLogger(__name__)

#: Tokens computed in one step, for prompts and single tokens together.
_BATCHED_TOKENS = 2048
_PREPARATION_PAUSE_S = 0.01


class EngineCore:
    """Synchronous and single-threaded: callers add and abort requests between steps.

    executor: who computes; by default the model is loaded into this process.
    Raises ConfigError if the model can't be loaded or the memory can't hold one request.
    """

    @paused_collections()
    def __init__(
        self,
        config: EngineConfig,
        checkpoint: Checkpoint,
        registry: Registry,
        executor: Executor | None = None,
    ) -> None:
        check_before_loading(config, checkpoint, registry)
        #: Is told of requests as the first step that computes them begins.
        self.on_started: Callable[[list[str]], None] = lambda request_ids: None
        unheard = GenerationDefaults.read(checkpoint.generation_config).not_honoured
        if unheard:
            logger.warning(
                "%s: of its generation_config.json not honoured: %s",
                checkpoint.name,
                ", ".join(unheard),
            )
        self._executor: Executor = executor or InProcessExecutor(config, checkpoint, registry)
        facts = self._executor.facts
        self._scheduler = _make_scheduler(config, facts, checkpoint.eos_token_ids)
        self._trace = StepTrace(config.trace) if config.trace else None
        self._answers: dict[str, set[int]] = {}
        #: What was prepared for requests, by id, kept while they live; and those held for it.
        self._prepared: dict[str, Future[Any]] = {}
        self._held: set[str] = set()
        self._events = MediaEvents()
        #: What the faces check requests against.
        self.facts = EngineFacts(
            max_model_len=facts.max_model_len,
            vocab_size=facts.vocab_size,
            num_blocks=facts.num_blocks,
            block_size=config.block_size,
            eos_token_ids=list(checkpoint.eos_token_ids),
            hidden_size=facts.hidden_size,
            dtype=facts.dtype,
            encoder_digest=facts.encoder_digest,
            max_logprobs=config.max_logprobs,
            runtime=facts.runtime,
        )

    @property
    def num_free_blocks(self) -> int:
        """KV blocks that no request holds."""
        return self._scheduler.kv_cache.num_free_blocks

    def stats(self) -> EngineStats:
        """The present state and the counts so far."""
        stats = self._scheduler.stats()
        stats.store = self._executor.store_writes()
        return stats

    def encode_images(self, message: EngineRequest) -> list[Tensor]:
        """What the decoder would see of each of a request's images, [num_features, hidden_size].

        Raises ValueError if the model takes none.
        """
        return self._executor.encode_images(message.media)

    def has_unfinished(self) -> bool:
        """Whether any request is open."""
        return self._scheduler.has_unfinished()

    def has_work(self) -> bool:
        """Whether `step` has anything to compute; not if all open requests wait for images."""
        return self._scheduler.has_work() or bool(self._held)

    def add(self, message: EngineRequest) -> list[EngineOutput]:
        """Queue a request; returns outputs that say why for answers that can never run."""
        if message.request_id in self._answers:
            failure = Failure("invalid", f"request id {message.request_id} is in use")
            return [EngineOutput(message.request_id, 0, finish_reason="error", failure=failure)]
        requests = Request.fan_out(message)
        self._answers[message.request_id] = {request.index for request in requests}
        try:
            self._executor.check(message.sampling_params)
            prepared = self._executor.prepare(message.sampling_params)
        except ValueError as error:
            return [self._refuse(request, error) for request in requests]
        if prepared is not None:
            self._prepared[message.request_id] = prepared
            self._held.add(message.request_id)
        refused = []
        for request in requests:
            try:
                self._scheduler.add(request, held=prepared is not None)
            except ValueError as error:
                refused.append(self._refuse(request, error))
        return refused

    def supply(self, media: MediaInput) -> None:
        """An image that was wanted has come, with its payload."""
        self._scheduler.supply(media)

    def take_media_events(self) -> MediaEvents:
        """What became of images since the last call."""
        events, self._events = self._events, MediaEvents()
        events.wanted = self._scheduler.take_wanted()
        return events

    def close(self, timeout: float = 3.0) -> None:
        """Wait until features that are still to be written are."""
        self._executor.close(timeout)

    def abort(self, message: Abort) -> None:
        """End a request, or one of its answers, at any stage; unknown ones are ignored."""
        for index in sorted(self._answers.get(message.request_id, ())):
            if message.index not in (None, index):
                continue
            request_id = Request.answer_id(message.request_id, index)
            request = self._scheduler.finish(request_id, RequestStatus.FINISHED_ABORTED)
            if request is not None:
                self._forget(request)
        self._let_go_if_idle()

    def step(self) -> list[EngineOutput]:
        """Schedule, run and sample once. A step that raises ends its own requests only."""
        started = time.monotonic()
        outputs = [self._to_output(r, []) for r in self._scheduler.expire(started)]
        outputs += self._release_prepared()
        scheduled = self._scheduler.schedule()
        self._events.evicted += scheduled.evicted_media
        if scheduled.is_empty:
            return outputs
        if scheduled.new:
            self.on_started([Request.parent_of(new.request_id) for new in scheduled.new])
        try:
            with about_requests(*self._scheduler.waiting_for_images(scheduled)):
                result = self._executor.execute(scheduled)
        except Exception as error:  # models, kernels and processors may be plugins
            message = f"the engine failed on this request: {error}"
            at_fault = error.media_keys if isinstance(error, EncodeError) else None
            progress = self._scheduler.fail(scheduled, message, at_fault)
            with about_requests(*dict.fromkeys(request.log_id for request, _ in progress)):
                logger.exception("a step of %d requests failed", len(scheduled.scheduled))
        else:
            progress = self._scheduler.update(scheduled, result)
            self._events.encoded += [media.media_key for media in scheduled.encode]
            self._events.encode_seconds += result.encode_seconds
        if self._trace is not None and scheduled.scheduled:
            waiting = len(self._scheduler.waiting)
            self._trace.step(scheduled, started, time.monotonic(), waiting)
        self._let_go_if_idle()
        return outputs + [self._to_output(request, token_ids) for request, token_ids in progress]

    def check_integrity(self) -> None:
        """Raise AssertionError if the bookkeeping disagrees with itself."""
        self._scheduler.check_integrity()

    def _release_prepared(self) -> list[EngineOutput]:
        """Let requests go on whose preparation is done, or end them if it failed. With nothing
        else to do, it is waited for, but not for long: messages may come."""
        preparing = [self._prepared[parent_id] for parent_id in self._held]
        if preparing and not self._scheduler.has_work():
            wait(preparing, _PREPARATION_PAUSE_S, FIRST_COMPLETED)
        outputs = []
        for parent_id in sorted(self._held):
            prepared = self._prepared[parent_id]
            if not prepared.done():
                continue
            self._held.discard(parent_id)
            error = prepared.exception()
            for index in sorted(self._answers[parent_id]):
                request_id = Request.answer_id(parent_id, index)
                if error is None:
                    self._scheduler.release(request_id)
                else:
                    kind: FailureKind = "invalid" if isinstance(error, ValueError) else "failed"
                    request = self._scheduler.fail_held(request_id, Failure(kind, str(error)))
                    outputs += [self._to_output(request, [])] if request is not None else []
        return outputs

    def _let_go_if_idle(self) -> None:
        """Tell the executor of the last ends, as there may be no next step for long."""
        if not self._scheduler.has_unfinished():
            scheduled = self._scheduler.schedule()
            self._events.evicted += scheduled.evicted_media
            self._executor.execute(scheduled)

    def _refuse(self, request: Request, reason: ValueError) -> EngineOutput:
        request.failure = Failure("invalid", str(reason))
        request.transition(RequestStatus.FINISHED_ERROR)
        return self._to_output(request, [])

    def _to_output(self, request: Request, token_ids: list[int]) -> EngineOutput:
        logprobs, request.new_logprobs = request.new_logprobs, []
        begins = bool(token_ids) and request.num_output_tokens == len(token_ids)
        asked = request.sampling_params.prompt_logprobs is not None
        finish_reason = request.status.finish_reason
        finished = finish_reason is not None
        if finished:
            self._forget(request)
        return EngineOutput(
            request.parent_id,
            request.index,
            token_ids,
            logprobs,
            prompt_logprobs=request.prompt_logprobs if begins and asked else None,
            finish_reason=finish_reason,
            stop_token_id=request.stop_token_id,
            complete=request.status is RequestStatus.FINISHED_COMPLETE,
            failure=request.failure,
            num_cached_tokens=request.num_cached_tokens,
            timings=request.timings if begins or finished else None,
            image_sources=request.image_sources if begins or finished else {},
        )

    def _forget(self, request: Request) -> None:
        """Drop what the engine keeps beside the scheduler for an answer that has ended."""
        with about_requests(request.log_id):
            num_tokens = len(request.token_ids) - request.num_prompt_tokens
            logger.debug("an answer of %d tokens ends: %s", num_tokens, request.status.name)
        indices = self._answers[request.parent_id]
        indices.discard(request.index)
        if not indices:
            del self._answers[request.parent_id]
            self._prepared.pop(request.parent_id, None)
            self._held.discard(request.parent_id)
        if self._trace is not None:
            self._trace.request(request)


def _make_scheduler(
    config: EngineConfig, facts: ModelFacts, eos_token_ids: Sequence[int]
) -> Scheduler:
    kv_cache = KVCacheManager(
        facts.num_blocks, config.block_size, config.enable_prefix_caching, facts.recompute_beyond
    )
    return Scheduler(
        kv_cache,
        EncoderCacheManager(config.encoder_cache_memory),
        max_num_seqs=config.max_num_seqs,
        max_num_batched_tokens=_token_budget(config, facts),
        max_model_len=facts.max_model_len,
        bytes_per_feature=facts.bytes_per_feature,
        eos_token_ids=eos_token_ids,
        policy=config.scheduling_policy,
    )


def _token_budget(config: EngineConfig, facts: ModelFacts) -> int:
    """What one step may compute, unless the operator says."""
    if config.max_num_batched_tokens is not None:
        return config.max_num_batched_tokens
    whole_prompts = facts.image_attention == "prefix"
    return max(_BATCHED_TOKENS, facts.max_model_len) if whole_prompts else _BATCHED_TOKENS
