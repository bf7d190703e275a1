"""A small scheduler and requests for it, for the tests of bookkeeping."""

from __future__ import annotations

from typing import Any

import numpy as np
from octavo.core.engine.scheduling.encoder_cache_manager import EncoderCacheManager
from octavo.core.engine.scheduling.kv_cache_manager import KVCacheManager
from octavo.core.engine.scheduling.request import Request
from octavo.core.engine.scheduling.scheduler import Scheduler
from octavo.core.protocol.constraints.structured_outputs import StructuredOutputsParams
from octavo.core.protocol.messages import EngineRequest, MediaInput, MediaSpan, PixelInput
from octavo.core.protocol.sampling_params import SamplingParams
from octavo.core.protocol.scheduler_output import SampledTokens, SchedulerOutput, StepResult
from octavo.core.protocol.shared_array import SharedArray

BUDGET = 24
PIXELS = PixelInput(SharedArray(np.zeros((1, 1, 1), dtype=np.float32)))


def make_scheduler(
    num_blocks: int = 16,
    budget: int = BUDGET,
    encoder_bytes: int = 16,
    max_num_seqs: int = 4,
    policy: str = "fcfs",
) -> Scheduler:
    """Blocks of 4 tokens, one byte of features for each token of an image."""
    return Scheduler(
        KVCacheManager(num_blocks, 4),
        EncoderCacheManager(encoder_bytes),
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=budget,
        max_model_len=64,
        bytes_per_feature=1,
        eos_token_ids=(2,),
        policy=policy,
    )


def span(offset: int, length: int, key: str, feature_start: int = 0) -> MediaSpan:
    return MediaSpan(offset, length, key, feature_start)


def supply_wanted(scheduler: Scheduler) -> list[str]:
    """Give the scheduler the images that it asks for; returns their keys."""
    keys = [key for wanted in scheduler.take_wanted() for key in wanted.media_keys]
    for key in keys:
        scheduler.supply(MediaInput(key, 0, PIXELS))
    return keys


def result_of(output: SchedulerOutput, token_id: int = 7) -> StepResult:
    """As if every chunk that samples had given this token."""
    tokens = SampledTokens([token_id])
    return StepResult({item.request_id: tokens for item in output.scheduled if item.samples})


def make_request(
    name: str,
    tokens: list[int],
    spans: list[MediaSpan],
    limit: int,
    n: int = 1,
    sent: bool = True,
    form: StructuredOutputsParams | None = None,
    **options: Any,
) -> list[Request]:
    """The requests for each of n answers. sent: whether their images come with them. form: of the
    answers."""
    sizes: dict[str, int] = {}
    for span in spans:
        end = span.feature_start + span.length
        sizes[span.media_key] = max(sizes.get(span.media_key, 0), end)
    payload = PIXELS if sent else None
    media = [MediaInput(key, size, payload) for key, size in sizes.items()]
    params = SamplingParams(max_tokens=limit, n=n, temperature=0, structured_outputs=form)
    options = {"arrival_time": 0.0, **options}
    return Request.fan_out(EngineRequest(name, tokens, params, spans, media, **options))
