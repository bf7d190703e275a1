"""The rules of the scheduler and its caches, one by one."""

from __future__ import annotations

import pytest
from octavo.core.engine.scheduling.block_pool import BlockPool
from octavo.core.engine.scheduling.request import IllegalTransitionError, Request, RequestStatus
from octavo.core.engine.scheduling.scheduler import Scheduler
from octavo.core.protocol.block_hash import hash_block, root_hash
from octavo.core.protocol.messages import MediaSpan
from octavo.core.protocol.scheduler_output import SampledTokens, SchedulerOutput, StepResult
from scheduling import make_request, make_scheduler, result_of, span, supply_wanted


def add(scheduler: Scheduler, name: str, tokens: list[int], **options: object) -> Request:
    (request,) = make_request(name, tokens, options.pop("spans", []), 5, **options)  # type: ignore
    scheduler.add(request)
    return request


def step(scheduler: Scheduler, token_id: int = 7) -> SchedulerOutput:
    output = scheduler.schedule()
    scheduler.update(output, result_of(output, token_id))
    return output


def chunks(output: SchedulerOutput) -> dict[str, int]:
    return {Request.parent_of(item.request_id): item.num_tokens for item in output.scheduled}


def test_same_text_with_another_image_shares_no_block() -> None:
    tokens = [3] * 12
    hashes = {
        key: hash_block(root_hash(""), tokens[:4], 0, [MediaSpan(0, 6, key)]) for key in ("a", "b")
    }
    shifted = hash_block(root_hash(""), tokens[:4], 0, [MediaSpan(1, 6, "a")])
    assert len({*hashes.values(), shifted}) == 3


def test_hits_are_counted_in_tokens() -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100, encoder_bytes=100)
    tokens = [3] * 22
    same, other = [span(2, 9, "a")], [span(2, 9, "b")]
    expected = {"first": 0, "again": 20, "other image": 0, "other salt": 0, "salted again": 20}
    for name, cached in expected.items():
        salt = "pepper" if "salt" in name else ""
        spans = other if "image" in name else same
        request = add(scheduler, name, tokens, spans=spans, cache_salt=salt)
        assert chunks(step(scheduler)) == {name: 22 - cached}
        assert request.num_cached_tokens == cached
        scheduler.finish(request.request_id, RequestStatus.FINISHED_ABORTED)
    stats = scheduler.stats()
    assert (stats.prefix_cache_queries, stats.prefix_cache_hits) == (22 * 5, 40)


def test_an_image_in_the_prefix_cache_needs_no_encoder() -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100, encoder_bytes=5)
    tokens = [3] * 16
    first = add(scheduler, "first", tokens, spans=[span(1, 5, "a")])
    step(scheduler)
    scheduler.finish(first.request_id, RequestStatus.FINISHED_ABORTED)
    add(scheduler, "evicts", [4] * 8, spans=[span(1, 5, "b")])
    assert [m.media_key for m in step(scheduler).encode] == ["b"]
    add(scheduler, "second", tokens, spans=[span(1, 5, "a")])
    output = step(scheduler)
    assert not output.encode
    assert chunks(output)["second"] == 4


def test_shared_prefix_is_computed_once() -> None:
    """32 requests at once with 400 tokens in common, over as many steps as it takes."""
    scheduler = make_scheduler(num_blocks=4000, budget=256, max_num_seqs=32)
    scheduler._max_model_len = 1000
    prefix = [1000 + i for i in range(400)]
    for i in range(32):
        add(scheduler, f"r{i}", [*prefix, *range(100 * i, 100 * i + 33)])
    computed = 0
    while scheduler.has_unfinished():
        output = step(scheduler)
        computed += sum(i.num_tokens for i in output.scheduled if i.start < 400)
    # The others each begin where the shared blocks end.
    assert computed <= 400 + 33
    assert scheduler.stats().prefix_cache_hits == 31 * 400


def test_an_image_is_encoded_once_for_all_that_show_it() -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100)
    for i in range(3):
        add(scheduler, f"r{i}", [9 + i] * 8, spans=[span(1, 5, "a")])
    output = step(scheduler)
    assert len(output.scheduled) == 3
    assert len(output.encode) == 1
    assert scheduler.stats().encoder_runs == 1


def test_a_chunk_is_cut_before_an_image_that_does_not_fit() -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100, encoder_bytes=10)
    add(scheduler, "r", [3] * 30, spans=[span(2, 5, "a"), span(9, 5, "b"), span(20, 5, "c")])
    assert chunks(step(scheduler)) == {"r": 20}
    assert chunks(step(scheduler)) == {"r": 10}


def test_a_bidirectional_run_is_never_cut() -> None:
    """It waits for the next step, goes beyond the budget beside decodes, or is refused."""
    scheduler = make_scheduler(num_blocks=64, budget=8, encoder_bytes=100)
    add(scheduler, "decodes", [3] * 4)
    step(scheduler)
    runs = {"spans": [span(3, 8, "a")], "bidirectional": [(3, 11)]}
    add(scheduler, "image", [5] * 14, **runs)
    assert chunks(step(scheduler)) == {"decodes": 1, "image": 3}
    assert chunks(step(scheduler)) == {"decodes": 1, "image": 8}
    assert chunks(step(scheduler)) == {"decodes": 1, "image": 3}
    with pytest.raises(ValueError, match="max_num_batched_tokens"):
        add(scheduler, "long", [5] * 14, bidirectional=[(0, 9)])


def test_an_image_shown_twice_does_not_block_the_one_between() -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100, encoder_bytes=5)
    add(scheduler, "r", [3] * 15, spans=[span(0, 5, "a"), span(5, 5, "b"), span(10, 5, "a")])
    assert [chunks(step(scheduler)) for _ in range(3)] == [{"r": 5}] * 3
    assert supply_wanted(scheduler) == []


def test_an_image_that_is_not_sent_is_asked_for_unless_it_is_there() -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100, encoder_bytes=5)
    spans = [span(2, 5, "a")]
    first = add(scheduler, "first", [3] * 8, spans=spans)
    step(scheduler)
    add(scheduler, "there", [4] * 8, spans=spans, sent=False)
    assert chunks(step(scheduler))["there"] == 8
    scheduler.finish(first.request_id, RequestStatus.FINISHED_ABORTED)
    add(scheduler, "evicts", [5] * 8, spans=[span(0, 5, "b")])
    step(scheduler)
    late = add(scheduler, "late", [6] * 8, spans=spans, sent=False, timeout=9.0)
    add(scheduler, "other", [7] * 8)
    output = step(scheduler)
    assert "late" not in chunks(output)
    assert chunks(output)["other"] == 8
    (wanted,) = scheduler.take_wanted()
    assert (wanted.request_id, wanted.media_keys) == ("late", ["a"])
    while scheduler.has_work():
        step(scheduler)
    assert scheduler.has_unfinished()
    assert scheduler.expire(10.0) == [late]
    scheduler.check_integrity()
    assert not scheduler.has_unfinished()


def test_blocks_are_named_once_their_step_has_run() -> None:
    """Two requests of one step share what it computes, though nobody can find it yet."""
    scheduler = make_scheduler(num_blocks=64, budget=100)
    tokens = list(range(10, 22))
    first, second = add(scheduler, "first", tokens), add(scheduler, "second", tokens)
    output = scheduler.schedule()
    assert chunks(output) == {"first": 12, "second": 4}
    tables = [scheduler.kv_cache.block_ids(request) for request in (first, second)]
    assert tables[0][:2] == tables[1][:2]
    find = scheduler.kv_cache.pool.find
    assert [find(block_hash) for block_hash in first.block_hashes] == [None] * 3
    scheduler.update(output, result_of(output))
    found = [find(block_hash) for block_hash in first.block_hashes]
    assert [block.block_id for block in found if block] == tables[0][:3]


def test_a_step_may_give_several_tokens() -> None:
    """All but those after one that ends the answer; the next chunk computes them."""
    scheduler = make_scheduler(num_blocks=64, budget=100)
    goes_on, stops = add(scheduler, "goes on", [3] * 5), add(scheduler, "stops", [4] * 5)
    tokens = {goes_on.request_id: [7, 8], stops.request_id: [7, 2, 9]}
    output = scheduler.schedule()
    result = StepResult({name: SampledTokens(ids) for name, ids in tokens.items()})
    assert scheduler.update(output, result) == [(goes_on, [7, 8]), (stops, [7, 2])]
    assert stops.status is RequestStatus.FINISHED_STOPPED
    (item,) = step(scheduler).scheduled
    assert (item.start, item.token_ids, item.samples) == (5, [7, 8], True)
    assert goes_on.num_output_tokens == 3


def test_what_a_failed_step_was_to_compute_is_not_found() -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100)
    add(scheduler, "fails", [3] * 20)
    scheduler.fail(scheduler.schedule(), "injected")
    again = add(scheduler, "again", [3] * 20)
    step(scheduler)
    assert again.num_cached_tokens == 0


def test_an_image_that_can_not_be_encoded_ends_those_that_show_it() -> None:
    """Others of the step, which may share blocks that were not computed, are computed again."""
    scheduler = make_scheduler(num_blocks=64, budget=100, encoder_bytes=20)
    add(scheduler, "bad", [3] * 12, spans=[span(4, 5, "bad")])
    same = add(scheduler, "same beginning", [3] * 4 + [9] * 8)
    good = add(scheduler, "good", [5] * 12, spans=[span(2, 5, "good")])
    output = scheduler.schedule()
    assert len(output.scheduled) == 3
    assert [r.parent_id for r, _ in scheduler.fail(output, "injected", {"bad"})] == ["bad"]
    scheduler.check_integrity()
    assert (same.num_computed_tokens, good.num_computed_tokens) == (0, 0)
    output = step(scheduler)
    assert chunks(output) == {"same beginning": 12, "good": 12}
    assert [m.media_key for m in output.encode] == ["good"]


def test_priority_goes_first_and_preempts() -> None:
    scheduler = make_scheduler(num_blocks=16, budget=24, max_num_seqs=2, policy="priority")
    low = [add(scheduler, f"low{i}", [10 + i] * 8, priority=5) for i in range(3)]
    step(scheduler)
    assert [r.status.name for r in low] == ["RUNNING", "RUNNING", "WAITING"]
    urgent = add(scheduler, "urgent", [30] * 8, priority=0)
    assert step(scheduler).preempted == ["low1/0"]
    assert urgent.status is RequestStatus.RUNNING
    assert [r.parent_id for r in scheduler.waiting] == ["low1", "low2"]


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
def test_the_background_has_what_others_leave(policy: str) -> None:
    scheduler = make_scheduler(num_blocks=16, budget=24, max_num_seqs=2, policy=policy)
    batch = [add(scheduler, f"batch{i}", [10 + i] * 8, background=True) for i in range(3)]
    step(scheduler)
    assert [r.status.name for r in batch] == ["RUNNING", "RUNNING", "WAITING"]
    # The last to come, and of the least priority.
    online = add(scheduler, "online", [30] * 8, priority=9)
    assert step(scheduler).preempted == ["batch1/0"]
    assert online.status is RequestStatus.RUNNING
    add(scheduler, "more", [31] * 8)
    assert step(scheduler).preempted == ["batch0/0"]
    assert [r.parent_id for r in scheduler.waiting] == ["batch0", "batch1", "batch2"]


def test_fcfs_never_lets_a_later_request_preempt() -> None:
    scheduler = make_scheduler(num_blocks=4, budget=24)
    first = add(scheduler, "first", [10] * 11)
    add(scheduler, "second", [20] * 8)
    while first.status is not RequestStatus.FINISHED_LENGTH:
        output = step(scheduler)
        assert first.request_id not in output.preempted
        assert "first" in chunks(output)


def test_timeouts_say_which_it_was() -> None:
    scheduler = make_scheduler(max_num_seqs=1)
    running = add(scheduler, "running", [10] * 8, queue_timeout=1.0, timeout=5.0)
    queued = add(scheduler, "queued", [20] * 8, queue_timeout=1.0, timeout=5.0)
    step(scheduler)
    assert scheduler.expire(2.0) == [queued]
    assert queued.failure is not None
    assert queued.failure.kind == "queue_timeout"
    assert scheduler.expire(6.0) == [running]
    assert running.failure is not None
    assert running.failure.kind == "timeout"
    scheduler.check_integrity()
    assert not scheduler.has_unfinished()


def test_answers_of_one_request_share_its_prompt() -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100)
    for request in make_request("r", list(range(10, 31)), [], 5, n=3):
        scheduler.add(request)
    assert [item.num_tokens for item in step(scheduler).scheduled] == [21, 1, 1]


def test_pool_refuses_double_release() -> None:
    pool = BlockPool(2)
    blocks = pool.allocate(1)
    pool.release(blocks)
    with pytest.raises(ValueError, match="nobody holds it"):
        pool.release(blocks)


def test_finished_requests_stay_finished() -> None:
    (request,) = make_request("r", [3], [], 1)
    request.transition(RequestStatus.FINISHED_ABORTED)
    with pytest.raises(IllegalTransitionError):
        request.transition(RequestStatus.RUNNING)
