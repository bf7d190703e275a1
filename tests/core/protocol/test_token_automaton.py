"""Automata that no answer could follow are refused, by name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from octavo import LLM
from octavo.core.protocol.constraints.token_automaton import TokenAutomaton
from octavo.core.protocol.request_error import RequestError
from octavo.core.protocol.sampling_params import BeamSearchParams, SamplingParams

#: "a" or "a b c", as tokens 5, 6 and 7.
LETTERS = TokenAutomaton(transitions=({5: 1}, {6: 2}, {7: 3}, {}), accepting=(1, 3))


@pytest.mark.parametrize(
    ("transitions", "accepting", "message"),
    [
        ((), (0,), "needs a state"),
        (({5: 1}, {}), (), "one that accepts"),
        (({5: 2}, {}), (1,), "no state 2"),
        (({5: 1}, {}), (-1,), "no state -1"),
        (({5: 1, 6: 2}, {}, {7: 2}), (1,), "can't end from state 2 on"),
    ],
)
def test_what_leads_nowhere_is_refused(
    transitions: Any, accepting: tuple[int, ...], message: str
) -> None:
    with pytest.raises(RequestError, match=message) as raised:
        TokenAutomaton(transitions=transitions, accepting=accepting)
    assert raised.value.param == "token_automaton"


@pytest.mark.parametrize(
    ("settings", "param"),
    [({"stop": ("b",)}, "stop"), ({"ignore_eos": True}, "ignore_eos"), ({"max_tokens": 1}, None)],
)
def test_settings_that_would_cut_an_answer(settings: dict[str, Any], param: str | None) -> None:
    with pytest.raises(RequestError, match="token_automaton") as raised:
        SamplingParams(token_automaton=LETTERS, **settings)
    assert raised.value.param == (param or "max_tokens")
    assert SamplingParams(token_automaton=LETTERS, max_tokens=2)


def test_an_answer_ends_within_its_room() -> None:
    assert LETTERS.shortest == 2
    assert LETTERS.tokens_from(0, 2) == [5]
    assert LETTERS.tokens_from(1, 2) == []
    assert LETTERS.tokens_from(1, 3) == LETTERS.tokens_from(1, None) == [6]


def test_it_travels() -> None:
    params = SamplingParams(token_automaton=LETTERS)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=SamplingParams) == params


@pytest.mark.parametrize(
    ("edge", "message"), [(10**6, "outside the vocabulary"), (-1, "outside the vocabulary")]
)
def test_tokens_are_the_models(offline: LLM, edge: int, message: str) -> None:
    automaton = TokenAutomaton(transitions=({edge: 1}, {}), accepting=(1,))
    with pytest.raises(RequestError, match=message) as raised:
        offline.generate("a", SamplingParams(token_automaton=automaton))
    assert raised.value.param == "token_automaton"


def test_what_ends_answers_has_nothing_after_it(offline: LLM) -> None:
    (eos,) = offline._core.facts.eos_token_ids
    for token_id in (eos, 7):
        automaton = TokenAutomaton(transitions=({token_id: 1}, {}), accepting=(1,))
        params = SamplingParams(token_automaton=automaton, stop_token_ids=(7,))
        with pytest.raises(RequestError, match=f"goes on after token {token_id}"):
            offline.generate("a", params)


def test_beam_searches_have_none() -> None:
    with pytest.raises(TypeError, match="no field 'token_automaton'"):
        BeamSearchParams(beam_width=2, token_automaton=LETTERS)  # type: ignore[call-arg]
