"""What people write of sampling: a name that is wrong is answered with the one that was meant."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import pytest
from octavo import BeamSearchParams, SamplingParams


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (
            SamplingParams,
            {"temprature": 0},
            "SamplingParams has no field 'temprature'; did you mean temperature?",
        ),
        (
            SamplingParams,
            {"max_new_tokens": 8},
            "SamplingParams has no field 'max_new_tokens'; did you mean max_tokens?",
        ),
        (
            BeamSearchParams,
            {"beam_width": 2, "length_penality": 1.0},
            "BeamSearchParams has no field 'length_penality'; did you mean length_penalty?",
        ),
        (
            BeamSearchParams,
            {"beam_width": 2, "seed": 1},
            "BeamSearchParams has no field 'seed'; it has beam_width, max_tokens, length_penalty, "
            "early_stopping, ignore_eos",
        ),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest(
    kind: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError) as caught:
        kind(**fields)
    assert str(caught.value) == message


def test_fields_are_given_by_name() -> None:
    with pytest.raises(TypeError, match="takes its fields by name, such as n="):
        SamplingParams(0.5)


def test_what_is_made_travels_as_any_struct() -> None:
    params = SamplingParams(temperature=0, stop=("a",), logit_bias={3: 1.0})
    assert pickle.loads(pickle.dumps(params)) == params
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=SamplingParams) == params
    assert msgspec.structs.replace(params, n=2) == SamplingParams(
        temperature=0, stop=("a",), logit_bias={3: 1.0}, n=2
    )
