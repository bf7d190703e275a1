"""What a face keeps of a request's times and images, joined over its answers."""

from __future__ import annotations

import pytest
from octavo.app import DEMO_MODEL
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.client.request_state import RequestState
from octavo.core.prompts.tokenizer import Tokenizer
from octavo.core.protocol.messages import EngineOutput, EngineRequest, MediaSpan, RequestTimings
from octavo.core.protocol.sampling_params import SamplingParams


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(find_checkpoint(DEMO_MODEL))


def test_answers_are_joined_from_the_first_token_to_the_last(tokenizer: Tokenizer) -> None:
    request = EngineRequest("r", [1], SamplingParams(n=2), [], [], 1.0)
    state = RequestState(request, tokenizer)
    assert state.to_output().metrics == RequestTimings(arrival=1.0)
    late = RequestTimings(1.0, 2.0, 4.0, 9.0, 0.0, 0.5, 1.0)
    early = RequestTimings(1.0, 2.0, 3.0, 8.0, 0.0, 0.5, 2.0)
    state.update(EngineOutput("r", 1, [5], timings=early))
    state.update(EngineOutput("r", 0, [5], timings=late))
    assert state.to_output().metrics == early
    early.finished, late.finished = 20.0, 11.0
    state.update(EngineOutput("r", 1, [5], finish_reason="length", timings=early))
    assert state.to_output().metrics.finished == 0
    state.update(EngineOutput("r", 0, [5], finish_reason="length", timings=late))
    assert state.to_output().metrics == early


def test_a_stop_string_ends_the_time_of_an_answer(tokenizer: Tokenizer) -> None:
    """At its only token: after the first one there is nothing, however late that came here."""
    (token_id,) = tokenizer.encode(" is")
    state = RequestState(
        EngineRequest("r", [1], SamplingParams(stop=("is",)), [], [], 0.0), tokenizer
    )
    # Long ago, by whatever clock.
    first_token = -1e6
    timings = RequestTimings(first_token=first_token)
    assert state.update(EngineOutput("r", 0, [token_id], timings=timings)) is not None
    assert state.to_output().metrics.finished - first_token < 500
    assert timings.finished == 0


def test_sources_are_in_the_order_in_which_images_are_shown(tokenizer: Tokenizer) -> None:
    """One that is shown twice was found the second time; one in two parts is one image."""
    spans = [
        MediaSpan(0, 2, "a"),
        MediaSpan(3, 2, "a", 2),
        MediaSpan(6, 4, "b"),
        MediaSpan(11, 4, "a"),
        MediaSpan(16, 4, "c"),
        MediaSpan(21, 4, "c"),
    ]
    state = RequestState(EngineRequest("r", [1] * 25, SamplingParams(), spans, [], 0.0), tokenizer)
    assert state.to_output().image_sources == []
    came = {"a": "redis", "b": "encoded"}
    timings = RequestTimings(first_token=1.0)
    state.update(EngineOutput("r", 0, [5], timings=timings, image_sources=came))
    expected = ["redis", "encoded", "engine", "prefix", "prefix"]
    assert state.to_output().image_sources == expected
