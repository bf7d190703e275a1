"""Where the features of a request's images came from, and whose time it was to encode them."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from octavo.core.engine.scheduling.request import Request, RequestStatus
from octavo.core.engine.scheduling.scheduler import Scheduler
from octavo.core.protocol.messages import EngineRequest, FeatureInput, MediaInput, MediaSpan
from octavo.core.protocol.sampling_params import SamplingParams
from octavo.core.protocol.scheduler_output import SchedulerOutput
from octavo.core.protocol.shared_array import SharedArray
from scheduling import make_request, make_scheduler, result_of, span, supply_wanted

#: What each step of these tests says that its encoder took.
SECONDS = 3.0
FROM_REDIS = FeatureInput("float32", SharedArray(np.zeros((1, 1), np.float32)), "redis")


def add(
    scheduler: Scheduler, name: str, tokens: list[int], spans: list[MediaSpan], **options: object
) -> list[Request]:
    requests = make_request(name, tokens, spans, 5, **options)  # type: ignore[arg-type]
    for request in requests:
        scheduler.add(request)
    return requests


def step(scheduler: Scheduler) -> SchedulerOutput:
    output = scheduler.schedule()
    seconds = SECONDS if output.encode else 0.0
    result = msgspec.structs.replace(result_of(output), encode_seconds=seconds)
    scheduler.update(output, result)
    return output


def test_the_first_is_told_that_it_was_encoded_and_later_ones_that_it_was_there() -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100)
    (first,) = add(scheduler, "first", [3] * 9, [span(1, 5, "a")])
    step(scheduler)
    (later,) = add(scheduler, "later", [3] * 9, [span(1, 5, "a")], cache_salt="other")
    step(scheduler)
    assert (first.image_sources, later.image_sources) == ({"a": "encoded"}, {"a": "engine"})
    assert (first.timings.encode, later.timings.encode) == (SECONDS, 0)


def test_others_in_the_step_are_not_told_of_an_encoder_that_worked_for_one() -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100)
    (shows,) = add(scheduler, "shows", [3] * 9, [span(1, 5, "a")])
    (text,) = add(scheduler, "text", [4] * 9, [])
    assert len(step(scheduler).scheduled) == 2
    assert (shows.timings.encode, text.timings.encode) == (SECONDS, 0)
    assert text.image_sources == {}


def test_features_that_came_are_told_by_whence() -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100)
    media = [MediaInput("a", 5, FROM_REDIS)]
    message = EngineRequest("r", [3] * 9, SamplingParams(), [span(1, 5, "a")], media, 0.0)
    (request,) = Request.fan_out(message)
    scheduler.add(request)
    step(scheduler)
    assert request.image_sources == {"a": "redis"}
    assert request.timings.encode == 0


def test_what_the_prefix_cache_has_needs_no_features() -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100)
    add(scheduler, "first", [3] * 16, [span(1, 5, "a")])
    step(scheduler)
    (again,) = add(scheduler, "again", [3] * 16, [span(1, 5, "a")])
    step(scheduler)
    assert again.num_cached_tokens
    assert again.image_sources == {}


def test_the_answers_of_a_request_tell_the_same() -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100, max_num_seqs=1)
    first, second = add(scheduler, "r", [3] * 9, [span(6, 3, "a")], n=2)
    step(scheduler)
    scheduler.finish(first.request_id, RequestStatus.FINISHED_ABORTED)
    step(scheduler)
    assert second.num_output_tokens == 1
    assert first.image_sources == second.image_sources == {"a": "encoded"}


def test_a_preempted_request_tells_what_it_found_at_first() -> None:
    """And of an image over several chunks, what it found for the first of them."""
    scheduler = make_scheduler(num_blocks=8, budget=6, policy="priority")
    (low,) = add(scheduler, "low", [3] * 20, [span(2, 12, "a")], priority=1)
    for _ in range(4):
        step(scheduler)
    assert low.image_sources == {"a": "encoded"}
    (high,) = add(scheduler, "high", [4] * 24, [], priority=0)
    while low.status is not RequestStatus.PREEMPTED:
        step(scheduler)
    scheduler.finish(high.request_id, RequestStatus.FINISHED_ABORTED)
    encode = low.timings.encode
    while not low.status.finished:
        step(scheduler)
    assert low.image_sources == {"a": "encoded"}
    assert low.timings.encode == encode == SECONDS


@pytest.mark.parametrize("sent", [True, False])
def test_an_image_that_had_to_be_asked_for_is_told_as_it_came(sent: bool) -> None:
    scheduler = make_scheduler(num_blocks=64, budget=100)
    (request,) = add(scheduler, "r", [3] * 9, [span(1, 5, "a")], sent=sent)
    step(scheduler)
    assert supply_wanted(scheduler) == ([] if sent else ["a"])
    if not sent:
        step(scheduler)
    assert request.image_sources == {"a": "encoded"}
