"""The engine proper: loads a model and advances all its requests, a step at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..registry import Registry
from .checkpoint import Checkpoint
from .config import ConfigError, EngineConfig
from .device import available_memory, choose_device, choose_dtype
from .encoder_cache_manager import EncoderCacheManager
from .kv_cache_manager import KVCacheManager
from .loader import load_model
from .messages import EngineOutput, EngineReady, EngineRequest
from .model_runner import ModelRunner
from .request import Request, RequestStatus
from .sampler import Sampler
from .scheduler import Scheduler

logger = logging.getLogger(__name__)

#: Share of the free memory that the KV cache takes unless the operator sets its size.
_KV_MEMORY_SHARE = 0.5


class EngineCore:
    """Synchronous and single-threaded: callers add and abort requests between steps.

    Raises ConfigError if the model can't be loaded or the memory can't hold one request.
    """

    def __init__(self, config: EngineConfig, checkpoint: Checkpoint, registry: Registry) -> None:
        device = choose_device(config.device)
        dtype = choose_dtype(config.dtype, checkpoint.dtype, device)
        model = load_model(checkpoint, registry, device, dtype)
        self.max_model_len = _choose_max_model_len(config, model.max_position_embeddings)
        block_bytes = model.kv_cache_spec.bytes_per_token(dtype) * config.block_size
        num_blocks = _choose_num_blocks(
            config, self.max_model_len, block_bytes, available_memory(device)
        )
        logger.info(
            "%s on %s in %s: %d KV blocks of %d tokens (%.0f MiB), up to %d tokens a request",
            checkpoint.name,
            device,
            dtype,
            num_blocks,
            config.block_size,
            num_blocks * block_bytes / 2**20,
            self.max_model_len,
        )
        kv_cache = KVCacheManager(num_blocks, config.block_size)
        self._scheduler = Scheduler(
            kv_cache,
            EncoderCacheManager(config.encoder_cache_memory),
            max_num_seqs=config.max_num_seqs,
            max_num_batched_tokens=config.max_num_batched_tokens,
            max_model_len=self.max_model_len,
            bytes_per_media_token=model.hidden_size * dtype.itemsize,
            eos_token_ids=checkpoint.eos_token_ids,
        )
        self._runner = ModelRunner(model, kv_cache, device, dtype)
        self._sampler = Sampler(device)
        self._kv_cache = kv_cache
        self._vocab_size = model.vocab_size

    def describe(self) -> EngineReady:
        """The facts that the faces check requests against."""
        return EngineReady(
            max_model_len=self.max_model_len,
            vocab_size=self._vocab_size,
            num_blocks=self._kv_cache.pool.num_blocks,
            block_size=self._kv_cache.block_size,
        )

    @property
    def num_free_blocks(self) -> int:
        """KV blocks that no request holds."""
        return self._kv_cache.num_free_blocks

    def has_unfinished(self) -> bool:
        """Whether `step` has anything to do."""
        return self._scheduler.has_unfinished()

    def add(self, message: EngineRequest) -> EngineOutput | None:
        """Queue a request; returns an output that says why if it can never run."""
        request = Request.from_message(message)
        try:
            self._scheduler.add(request)
        except ValueError as error:
            return EngineOutput(message.request_id, [], [], finish_reason="error", error=str(error))
        return None

    def abort(self, request_ids: Iterable[str]) -> None:
        """End requests at any stage; unknown ids are ignored."""
        for request_id in request_ids:
            self._scheduler.finish(request_id, RequestStatus.FINISHED_ABORTED)
            self._sampler.forget(request_id)

    def step(self) -> list[EngineOutput]:
        """Schedule, run and sample once. A step that raises ends its own requests only."""
        output = self._scheduler.schedule()
        if not output.scheduled:
            return []
        try:
            logits = self._runner.execute(output)
            sampling = [item.request for item in output.scheduled if item.samples]
            sampled = self._sampler.sample(logits, sampling)
        except (RuntimeError, ValueError, MemoryError) as error:
            logger.exception("a step of %d requests failed", len(output.scheduled))
            failed = self._scheduler.fail(output, f"the engine failed on this request: {error}")
            return [self._to_output(request, []) for request in failed]
        return [
            self._to_output(request, token_ids)
            for request, token_ids in self._scheduler.update(output, sampled)
        ]

    def check_integrity(self) -> None:
        """Raise AssertionError if the bookkeeping disagrees with itself."""
        self._scheduler.check_integrity()

    def _to_output(self, request: Request, token_ids: list[int]) -> EngineOutput:
        logprobs, request.new_logprobs = request.new_logprobs, []
        if request.status.finished:
            self._sampler.forget(request.request_id)
        return EngineOutput(
            request.request_id,
            token_ids,
            logprobs,
            finish_reason=request.status.finish_reason,
            stop_token_id=request.stop_token_id,
            error=request.error,
            timings=request.timings if request.status.finished else None,
        )


def _choose_max_model_len(config: EngineConfig, model_limit: int) -> int:
    if config.max_model_len is None:
        return model_limit
    if config.max_model_len > model_limit:
        raise ConfigError(
            f"max_model_len {config.max_model_len} is beyond the model's own limit of {model_limit}"
        )
    return config.max_model_len


def _choose_num_blocks(
    config: EngineConfig, max_model_len: int, block_bytes: int, free_bytes: int
) -> int:
    """As many blocks as the memory allows, but no more than all requests could ever fill."""
    blocks_per_request = -(-max_model_len // config.block_size)
    memory = config.kv_cache_memory
    if memory is None:
        most = blocks_per_request * config.max_num_seqs
        num_blocks = min(most, int(free_bytes * _KV_MEMORY_SHARE) // block_bytes)
    else:
        num_blocks = memory // block_bytes
    if num_blocks < blocks_per_request:
        raise ConfigError(
            f"a request of {max_model_len} tokens needs {blocks_per_request * block_bytes} bytes "
            f"of KV cache, there are {num_blocks * block_bytes}; raise kv_cache_memory or lower "
            "max_model_len"
        )
    return num_blocks
