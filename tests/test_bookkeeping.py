"""Random operations on the scheduler and its caches: nothing leaks, and everything ends."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from octavo.core.engine.block_hash import hash_block, root_hash
from octavo.core.engine.block_pool import BlockPool
from octavo.core.engine.encoder_cache_manager import EncoderCacheManager
from octavo.core.engine.kv_cache_manager import KVCacheManager
from octavo.core.engine.messages import (
    EngineRequest,
    MediaInput,
    MediaSpan,
    Pixels,
)
from octavo.core.engine.request import IllegalTransitionError, Request, RequestStatus
from octavo.core.engine.sampling_params import SamplingParams
from octavo.core.engine.scheduler import SampledToken, Scheduler

PIXELS = Pixels((1, 1, 1), b"\0\0\0\0")


def make_scheduler(num_blocks: int = 16, budget: int = 24) -> Scheduler:
    return Scheduler(
        KVCacheManager(num_blocks, 4),
        EncoderCacheManager(16),
        max_num_seqs=4,
        max_num_batched_tokens=budget,
        max_model_len=64,
        bytes_per_media_token=1,
        eos_token_ids=(2,),
    )


def make_request(name: str, tokens: list[int], spans: list[MediaSpan], limit: int) -> Request:
    media = [MediaInput(span, PIXELS) for span in spans]
    params = SamplingParams(max_tokens=limit)
    return Request.from_message(EngineRequest(name, tokens, params, media, 0.0))


def random_request(name: str, rng: random.Random) -> Request:
    tokens = [rng.randrange(3, 5) for _ in range(rng.randrange(1, 40))]
    spans = []
    position = rng.randrange(0, 8)
    while position + 8 < len(tokens) and rng.random() < 0.7:
        spans.append(MediaSpan(position, rng.randrange(1, 9), f"image{rng.randrange(4)}"))
        position = spans[-1].end + rng.randrange(0, 6)
    # One image has one length, whoever shows it.
    spans = [MediaSpan(s.offset, 5, s.media_key) for s in spans if s.offset + 5 <= len(tokens)]
    spans = [s for i, s in enumerate(spans) if i == 0 or s.offset >= spans[i - 1].end]
    return make_request(name, tokens, spans, rng.randrange(1, 20))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**9))
def test_random_lives(seed: int) -> None:
    rng = random.Random(seed)
    scheduler = make_scheduler()
    ended: list[Request] = []
    added = 0
    for _ in range(60):
        action = rng.random()
        if action < 0.35:
            scheduler.add(random_request(f"r{added}", rng))
            added += 1
        elif action < 0.45 and added:
            request = scheduler.finish(f"r{rng.randrange(added)}", RequestStatus.FINISHED_ABORTED)
            ended += [request] if request else []
        else:
            ended += step(scheduler, rng, fails=action > 0.97)
        scheduler.check_integrity()
    for _ in range(3000):
        if not scheduler.has_unfinished():
            break
        ended += step(scheduler, rng)
        scheduler.check_integrity()
    assert len(ended) == added
    assert all(request.status.finished for request in ended)


def step(scheduler: Scheduler, rng: random.Random, fails: bool = False) -> list[Request]:
    output = scheduler.schedule()
    assert output.num_tokens <= 24
    if fails:
        return scheduler.fail(output, "injected")
    sampled = {
        item.request.request_id: SampledToken(rng.randrange(2, 6), None)
        for item in output.scheduled
        if item.samples
    }
    return [r for r, _ in scheduler.update(output, sampled) if r.status.finished]


def test_same_text_with_another_image_shares_no_block() -> None:
    tokens = [3] * 12
    hashes = {
        key: hash_block(root_hash(""), tokens[:4], 0, [MediaSpan(0, 6, key)]) for key in ("a", "b")
    }
    shifted = hash_block(root_hash(""), tokens[:4], 0, [MediaSpan(1, 6, "a")])
    assert len({*hashes.values(), shifted}) == 3


def test_shared_prefix_is_computed_once() -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100)
    prefix = list(range(10, 30))
    for i in range(4):
        scheduler.add(make_request(f"r{i}", [*prefix, 40 + i, 41, 42], [], 5))
    output = scheduler.schedule()
    assert [item.num_tokens for item in output.scheduled] == [23, 3, 3, 3]


def test_pool_refuses_double_release() -> None:
    pool = BlockPool(2)
    blocks = pool.allocate(1)
    pool.release(blocks)
    with pytest.raises(ValueError, match="nobody holds it"):
        pool.release(blocks)


def test_finished_requests_stay_finished() -> None:
    request = make_request("r", [3], [], 1)
    request.transition(RequestStatus.FINISHED_ABORTED)
    with pytest.raises(IllegalTransitionError):
        request.transition(RequestStatus.RUNNING)
