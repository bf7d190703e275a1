"""The engine proper: loads a model and advances all its requests, a step at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from torch import Tensor

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.generation_defaults import GenerationDefaults
from ..deploy.transformers_spec import TransformersSpec
from ..device.device import available_memory, choose_device, choose_dtype, choose_kv_cache_dtype
from ..device.memory_plan import plan_memory
from ..models.encoder_digest import encoder_digest
from ..models.loader import choose_kernels, load_model
from ..models.model_choice import choose_model
from ..protocol.config import ConfigError, EngineConfig
from ..protocol.messages import (
    Abort,
    EngineOutput,
    EngineReady,
    EngineRequest,
    EngineStats,
    Failure,
    MediaEvents,
    MediaInput,
    PixelInput,
)
from ..registry.registry import Registry
from ..system.garbage import paused_collections
from ..system.heap import keep_freed_memory
from .execution.encoder_runner import EncodeError
from .execution.feature_writer import FeatureWriter
from .execution.model_runner import ModelRunner
from .execution.sampler import Sampler
from .scheduling.encoder_cache_manager import EncoderCacheManager
from .scheduling.kv_cache_manager import KVCacheManager
from .scheduling.request import Request, RequestStatus
from .scheduling.scheduler import Scheduler
from .scheduling.scheduler_output import SampledToken, SchedulerOutput
from .scheduling.step_trace import StepTrace

logger = logging.getLogger(__name__)

#: Tokens computed in one step, for prompts and single tokens together.
_BATCHED_TOKENS = 2048


class EngineCore:
    """Synchronous and single-threaded: callers add and abort requests between steps.

    Raises ConfigError if the model can't be loaded or the memory can't hold one request.
    """

    @paused_collections()
    def __init__(self, config: EngineConfig, checkpoint: Checkpoint, registry: Registry) -> None:
        #: Is told of requests as the first step that computes them begins.
        self.on_started: Callable[[list[str]], None] = lambda request_ids: None
        spec = choose_model(checkpoint.config, registry, config.model_impl)
        if config.batch_invariant and spec.image_attention != "causal":
            raise ConfigError(
                f"{checkpoint.name}: batch_invariant is not possible for a model whose attention "
                f"is {spec.image_attention}"
            )
        if isinstance(spec, TransformersSpec) and config.model_impl == "auto":
            logger.info(
                "no plugin serves %s: it is deployed automatically from transformers",
                ", ".join(spec.architectures),
            )
        unheard = GenerationDefaults.read(checkpoint.generation_config).not_honoured
        if unheard:
            logger.warning(
                "%s: of its generation_config.json not honoured: %s",
                checkpoint.name,
                ", ".join(unheard),
            )
        device = choose_device(config.device)
        dtype = choose_dtype(config.dtype, checkpoint.dtype, device)
        if device.type == "cpu":
            keep_freed_memory()
        kernels = choose_kernels(registry, device, dtype)
        model, weight_bytes = load_model(
            spec, checkpoint, registry, device, dtype, kernels, config.quantization
        )
        kv_dtype = choose_kv_cache_dtype(
            config.kv_cache_dtype, config.dtype, checkpoint.dtype, dtype
        )
        self._plan = plan_memory(
            config,
            model.max_position_embeddings,
            weight_bytes,
            model.kv_cache_spec.bytes_per_token(kv_dtype),
            available_memory(device),
        )
        logger.info("%s on %s in %s: %s", checkpoint.name, device, dtype, self._plan.describe())
        kv_cache = KVCacheManager(
            self._plan.num_blocks,
            config.block_size,
            config.enable_prefix_caching,
            model.kv_cache_spec.recompute_beyond,
        )
        self._scheduler = Scheduler(
            kv_cache,
            EncoderCacheManager(config.encoder_cache_memory),
            max_num_seqs=config.max_num_seqs,
            max_num_batched_tokens=_token_budget(
                config, spec.image_attention, self._plan.max_model_len
            ),
            max_model_len=self._plan.max_model_len,
            bytes_per_feature=model.hidden_size * dtype.itemsize,
            eos_token_ids=checkpoint.eos_token_ids,
            policy=config.scheduling_policy,
        )
        self._runner = ModelRunner(model, kv_cache, device, dtype, kv_dtype, config.batch_invariant)
        self._sampler = Sampler(
            device,
            kernels.sample_top_k_top_p,
            checkpoint.eos_token_ids,
            registry.logits_processors,
        )
        self._trace = StepTrace(config.trace) if config.trace else None
        self._answers: dict[str, set[int]] = {}
        self._events = MediaEvents()
        self._writer = FeatureWriter.open(config, registry)
        digest = ""
        if self._writer is not None:
            digest = encoder_digest(model, checkpoint.config, dtype, registry.origin_of(spec))
        self._ready = EngineReady(
            max_model_len=self._plan.max_model_len,
            vocab_size=model.vocab_size,
            num_blocks=self._plan.num_blocks,
            block_size=self._plan.block_size,
            eos_token_ids=list(checkpoint.eos_token_ids),
            hidden_size=model.hidden_size,
            dtype=str(dtype).removeprefix("torch."),
            encoder_digest=digest,
            max_logprobs=config.max_logprobs,
        )

    def describe(self) -> EngineReady:
        """The facts that the faces check requests against."""
        return self._ready

    @property
    def num_free_blocks(self) -> int:
        """KV blocks that no request holds."""
        return self._scheduler.kv_cache.num_free_blocks

    def stats(self) -> EngineStats:
        """The present state and the counts so far."""
        stats = self._scheduler.stats()
        if self._writer is not None:
            stats.store = self._writer.stats()
        return stats

    def encode_images(self, message: EngineRequest) -> list[Tensor]:
        """What the decoder would see of each of a request's images, [num_features, hidden_size].

        Raises ValueError if the model takes none.
        """
        return self._runner.encode_images(message.media)

    def has_unfinished(self) -> bool:
        """Whether any request is open."""
        return self._scheduler.has_unfinished()

    def has_work(self) -> bool:
        """Whether `step` has anything to compute; not if all open requests wait for images."""
        return self._scheduler.has_work()

    def add(self, message: EngineRequest) -> list[EngineOutput]:
        """Queue a request; returns outputs that say why for answers that can never run."""
        if message.request_id in self._answers:
            failure = Failure("invalid", f"request id {message.request_id} is in use")
            return [EngineOutput(message.request_id, 0, finish_reason="error", failure=failure)]
        refused = []
        for request in Request.fan_out(message):
            self._answers.setdefault(request.parent_id, set()).add(request.index)
            try:
                self._sampler.add(request)
                self._scheduler.add(request)
            except ValueError as error:
                request.failure = Failure("invalid", str(error))
                request.transition(RequestStatus.FINISHED_ERROR)
                refused.append(self._to_output(request, []))
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
        if self._writer is not None:
            self._writer.close(timeout)

    def abort(self, message: Abort) -> None:
        """End a request, or one of its answers, at any stage; unknown ones are ignored."""
        for index in sorted(self._answers.get(message.request_id, ())):
            if message.index not in (None, index):
                continue
            request_id = Request.answer_id(message.request_id, index)
            request = self._scheduler.finish(request_id, RequestStatus.FINISHED_ABORTED)
            if request is not None:
                self._forget(request)

    def step(self) -> list[EngineOutput]:
        """Schedule, run and sample once. A step that raises ends its own requests only."""
        started = time.monotonic()
        outputs = [self._to_output(r, []) for r in self._scheduler.expire(started)]
        scheduled = self._scheduler.schedule()
        self._runner.drop_features(scheduled.evicted_media)
        self._events.evicted += scheduled.evicted_media
        if not scheduled.scheduled:
            return outputs
        requests = [item.request for item in scheduled.scheduled]
        new = [r.parent_id for r in requests if r.timings.first_scheduled >= started]
        if new:
            self.on_started(new)
        try:
            sampled = self._run(scheduled)
        except Exception as error:  # models, kernels and processors may be plugins
            logger.exception("a step of %d requests failed", len(scheduled.scheduled))
            message = f"the engine failed on this request: {error}"
            at_fault = error.media_keys if isinstance(error, EncodeError) else None
            progress = self._scheduler.fail(scheduled, message, at_fault)
        else:
            progress = self._scheduler.update(scheduled, sampled)
            self._note_encoded(scheduled)
        if self._trace is not None:
            waiting = len(self._scheduler.waiting)
            self._trace.step(scheduled, started, time.monotonic(), waiting)
        return outputs + [self._to_output(request, token_ids) for request, token_ids in progress]

    def check_integrity(self) -> None:
        """Raise AssertionError if the bookkeeping disagrees with itself."""
        self._scheduler.check_integrity()

    def _run(self, scheduled: SchedulerOutput) -> dict[str, SampledToken]:
        result = self._runner.execute(scheduled)
        for item in scheduled.scheduled:
            request = item.request
            request.prompt_logprobs += result.prompt_logprobs.get(request.request_id, [])
            if not request.num_output_tokens:
                request.timings.encode += result.encode_seconds
        self._events.encode_seconds += result.encode_seconds
        sampling = [item.request for item in scheduled.scheduled if item.samples]
        return self._sampler.sample(result.logits, sampling)

    def _note_encoded(self, scheduled: SchedulerOutput) -> None:
        """Tell of new features, and have those that were computed here written to the store."""
        self._events.encoded += [media.media_key for media in scheduled.encode]
        if self._writer is not None:
            for media in scheduled.encode:
                if isinstance(media.payload, PixelInput):
                    self._writer.submit(media.media_key, self._runner.features(media.media_key))

    def _to_output(self, request: Request, token_ids: list[int]) -> EngineOutput:
        logprobs, request.new_logprobs = request.new_logprobs, []
        first = request.num_output_tokens == len(token_ids)
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
            prompt_logprobs=request.prompt_logprobs if first and token_ids and asked else None,
            finish_reason=finish_reason,
            stop_token_id=request.stop_token_id,
            failure=request.failure,
            num_cached_tokens=request.num_cached_tokens,
            timings=request.timings if finished else None,
        )

    def _forget(self, request: Request) -> None:
        """Drop what the engine keeps beside the scheduler for an answer that has ended."""
        self._sampler.forget(request.request_id)
        indices = self._answers[request.parent_id]
        indices.discard(request.index)
        if not indices:
            del self._answers[request.parent_id]
        if self._trace is not None:
            self._trace.request(request)


def _token_budget(config: EngineConfig, attention: str, max_model_len: int) -> int:
    """What one step may compute, unless the operator says."""
    if config.max_num_batched_tokens is not None:
        return config.max_num_batched_tokens
    whole_prompts = attention == "prefix"
    return max(_BATCHED_TOKENS, max_model_len) if whole_prompts else _BATCHED_TOKENS
