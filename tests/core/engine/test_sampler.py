"""The distribution that tokens are drawn from, against slow references and against counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from octavo.core.contracts.specs import LogitsProcessorSpec
from octavo.core.engine.execution.min_p import apply_min_p
from octavo.core.engine.execution.sampler import Sampler
from octavo.core.engine.scheduling.request import Request
from octavo.core.protocol.messages import EngineRequest, Failure
from octavo.core.protocol.request_error import RequestError
from octavo.core.protocol.sampling_params import SamplingParams
from octavo.core.protocol.scheduler_output import SampledTokens
from octavo.kernels.dispatch import resolve_kernels
from octavo.kernels.portable import numpy_sampling

KERNELS = resolve_kernels()
SAMPLERS = (numpy_sampling.sample_top_k_top_p, KERNELS.sample_top_k_top_p)
VOCAB = 9
EOS = 2


def make_request(prompt: list[int], output: list[int], name: str = "r", **settings: Any) -> Request:
    bad_word_ids = settings.pop("bad_word_ids", [])
    params = SamplingParams(max_tokens=100, **settings)
    (request,) = Request.fan_out(EngineRequest(name, prompt, params, [], [], 0.0, bad_word_ids))
    request.token_ids += output
    return request


def make_sampler(*requests: Request, **options: Any) -> Sampler:
    """One that has given each request its output."""
    sampler = Sampler(torch.device("cpu"), SAMPLERS[1], KERNELS.mask_tokens, [EOS], **options)
    for request in requests:
        sampler.add(request.announce())
        for token_id in request.token_ids[request.num_prompt_tokens :]:
            sampler._states[request.request_id].append(token_id)
    return sampler


def sample(logits: torch.Tensor, *requests: Request, **options: Any) -> list[SampledTokens]:
    sampled = make_sampler(*requests, **options).sample(logits.clone(), ids(requests))
    return [sampled[request.request_id] for request in requests]


def ids(requests: Sequence[Request]) -> list[str]:
    return [request.request_id for request in requests]


def slow_probs(logits: list[float], params: SamplingParams) -> list[float]:
    """Temperature, min-p, top-k, then top-p over what is left, one list at a time."""
    scaled = [x / params.temperature for x in logits]
    order = sorted(range(len(scaled)), key=lambda i: -scaled[i])
    kept = [i for i in order if math.exp(scaled[i] - scaled[order[0]]) >= params.min_p]
    kept = kept[: params.top_k] if params.top_k > 0 else kept
    weights = {i: math.exp(scaled[i] - scaled[order[0]]) for i in kept}
    total = sum(weights.values())
    chosen, mass = [], 0.0
    for i in kept:
        if mass >= params.top_p:
            break
        chosen.append(i)
        mass += weights[i] / total
    remaining = sum(weights[i] for i in chosen)
    return [weights[i] / remaining if i in chosen else 0.0 for i in range(len(logits))]


def drawn(logits: torch.Tensor, params: SamplingParams, uniforms: Any) -> list[int]:
    """The token of each uniform number, as rows of one batch."""
    rows = logits.expand(len(uniforms), -1)
    settings = [
        torch.full((len(rows),), value)
        for value in (params.temperature, max(params.top_k, 0), params.top_p)
    ]
    uniform = torch.from_numpy(uniforms).float()
    masked = apply_min_p(rows, [params] * len(rows))
    results = [draw(masked, *settings, uniform).tolist() for draw in SAMPLERS]
    assert results[0] == results[1]
    return results[0]


def check_draws(logits: torch.Tensor, params: SamplingParams) -> None:
    """Uniform numbers, evenly spaced, fall where the slow probabilities' running sum says."""
    uniforms = (np.arange(61) + 0.5) / 61
    bounds = np.cumsum(slow_probs(logits.tolist(), params))
    clear = np.abs(bounds[:, None] - uniforms).min(axis=0) > 1e-5
    expected = np.searchsorted(bounds, uniforms, side="right")
    assert clear.mean() > 0.9
    assert (np.array(drawn(logits, params, uniforms)) == expected)[clear].all()


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.sampled_from([VOCAB, 64, 200]),
    temperature=st.floats(0.1, 2),
    top_k=st.integers(-1, 12),
    top_p=st.floats(0.05, 1),
    min_p=st.floats(0, 0.6),
)
def test_truncation(
    seed: int, size: int, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    logits = torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 3
    check_draws(
        logits, SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    )


@pytest.mark.parametrize("scale", [0.2, 1.0, 4.0])
@pytest.mark.parametrize(
    "limits", [{"top_k": 50}, {"top_k": 5000, "top_p": 0.7}, {"top_p": 0.9}, {}]
)
def test_truncation_of_a_real_vocabulary(scale: float, limits: dict[str, Any]) -> None:
    """Where only the likeliest are looked at, and where these are not enough."""
    logits = torch.randn(20_011, generator=torch.Generator().manual_seed(5)) * scale
    # Small differences between sums of float32 and of float64 move every bound a little.
    params = SamplingParams(temperature=0.9, **limits)
    probs = np.array(slow_probs(logits.tolist(), params))
    uniforms = np.random.default_rng(0).random(60)
    bounds = np.cumsum(probs)
    for token_id, u in zip(drawn(logits, params, uniforms), uniforms, strict=True):
        assert probs[token_id] > 0
        assert bounds[token_id] - probs[token_id] - 1e-5 < u < bounds[token_id] + 1e-5


def test_of_equal_tokens_the_first_stay() -> None:
    logits = torch.zeros(20_000)
    logits[[300, 7_000, 7_001, 19_999]] = 1.0
    uniforms = np.random.default_rng(0).random(200)
    assert set(drawn(logits, SamplingParams(top_k=3), uniforms)) == {300, 7_000, 7_001}
    assert set(drawn(logits, SamplingParams(top_k=5), uniforms)) == {0, 300, 7_000, 7_001, 19_999}
    assert set(drawn(logits[300:400], SamplingParams(top_p=0.02), uniforms)) == {0}


def test_masked_tokens_are_never_drawn() -> None:
    logits = torch.full((300,), -math.inf)
    logits[[70, 200]] = 0.0
    uniforms = np.array([0.0, 0.25, 0.5, 0.75, 1 - 2**-24])
    for params in (SamplingParams(), SamplingParams(top_k=9), SamplingParams(top_p=0.99)):
        assert drawn(logits, params, uniforms) == [70, 70, 200, 200, 200]


def test_draws_follow_the_probabilities() -> None:
    """Chi-squared over 4,000 draws each; 27.9 is exceeded by chance once in a thousand (9 degrees
    of freedom). Two kinds of requests, with a seed each, are drawn in one batch."""
    logits = torch.linspace(-1, 2, 10)
    plain = [make_request([0], [], f"plain{i}", temperature=1.0, seed=i) for i in range(100)]
    options = {"temperature": 0.7, "min_p": 0.05, "logit_bias": {4: 1}}
    other = [make_request([0], [], f"other{i}", seed=i, **options) for i in range(100)]
    sampler = make_sampler(*plain, *other)
    counts = torch.zeros(2, 10)
    for _ in range(40):
        sampled = sampler.sample(logits.expand(200, -1).clone(), ids(plain + other))
        for row, requests in enumerate((plain, other)):
            for request in requests:
                counts[row, sampled[request.request_id].token_ids] += 1
    biased = logits.clone()
    biased[4] += 1
    expected = 4000 * torch.stack(
        [logits.softmax(-1), torch.tensor(slow_probs(biased.tolist(), other[0].sampling_params))]
    )
    possible = expected > 0
    assert counts[~possible].sum() == 0
    difference = torch.where(possible, (counts - expected) ** 2 / expected, 0)
    assert difference.sum(-1).max() < 27.9


@pytest.mark.parametrize("limits", [{}, {"top_p": 0.9}, {"top_k": 40}, {"min_p": 0.001}])
def test_a_seed_gives_the_same_draws_whatever_else_is_in_the_batch(limits: dict[str, Any]) -> None:
    rows = torch.randn(40, 5000, generator=torch.Generator().manual_seed(0)) * 2

    def draws(*companions: Request) -> list[int]:
        mine = make_request([0], [], "mine", temperature=1.3, seed=-11, **limits)
        batch = [*companions, mine]
        sampler = make_sampler(*batch)
        starts = [20 + i - len(companions) for i in range(20)]
        sampled = [sampler.sample(rows[i : i + len(batch)], ids(batch)) for i in starts]
        return [token_id for step in sampled for token_id in step[mine.request_id].token_ids]

    others = [
        make_request([0], [], "other", temperature=1.3, top_k=5),
        make_request([0], [], "third", temperature=0),
        make_request([0], [], "fourth", temperature=0.7),
        make_request([0], [], "fifth", temperature=0.7, top_p=0.5),
    ]
    alone = draws()
    assert alone == draws(*others) == draws(*others[:2])
    assert len(set(alone)) > 10


def slow_penalties(logits: list[float], request: Request) -> list[float]:
    """vLLM's definition, token by token."""
    params = request.sampling_params
    output = request.token_ids[request.num_prompt_tokens :]
    result = []
    for token_id, logit in enumerate(logits):
        if token_id in request.token_ids:
            factor = params.repetition_penalty
            logit = logit / factor if logit > 0 else logit * factor
        logit -= params.frequency_penalty * output.count(token_id)
        logit -= params.presence_penalty * (token_id in output)
        result.append(logit)
    return result


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    prompt=st.lists(st.integers(0, VOCAB + 3), min_size=1, max_size=8),
    output=st.lists(st.integers(0, VOCAB - 1), max_size=12),
    presence=st.floats(-2, 2),
    frequency=st.floats(-2, 2),
    repetition=st.floats(0.5, 2),
)
def test_penalties(
    seed: int,
    prompt: list[int],
    output: list[int],
    presence: float,
    frequency: float,
    repetition: float,
) -> None:
    """Through the sampler, with a request without penalties in the batch."""
    logits = torch.randn(2, VOCAB, generator=torch.Generator().manual_seed(seed)) * 3
    request = make_request(
        prompt,
        output,
        temperature=0,
        presence_penalty=presence,
        frequency_penalty=frequency,
        repetition_penalty=repetition,
    )
    plain = make_request(prompt, output, "plain", temperature=0)
    first, second = sample(logits, request, plain)
    expected = slow_penalties(logits[0].tolist(), request)
    assert expected[first.token_ids[0]] == pytest.approx(max(expected), abs=1e-4)
    assert second.token_ids == [int(logits[1].argmax())]


def test_penalties_count_what_is_generated_on_the_way() -> None:
    """A constant model under a frequency penalty of 1 takes turns."""
    logits = torch.zeros(1, VOCAB)
    logits[0, 5], logits[0, 6] = 2.0, 1.5
    request = make_request([1], [], temperature=0, frequency_penalty=1.0)
    sampler = make_sampler(request)
    sampled = [sampler.sample(logits.clone(), ids([request])) for _ in range(4)]
    assert [step[request.request_id].token_ids for step in sampled] == [[5], [6], [5], [6]]


def choice(output: list[int] | None = None, **settings: Any) -> int:
    """What is chosen greedily when the likeliest tokens are 8, 7, 6, … and the last two EOS."""
    logits = torch.arange(VOCAB, dtype=torch.float32)[None]
    logits[0, EOS] = 100.0 if settings.pop("ending", False) else 0.0
    request = make_request([1], output or [], temperature=0, **settings)
    (token_id,) = sample(logits, request)[0].token_ids
    return token_id


def test_masks() -> None:
    assert choice() == 8
    assert choice(allowed_token_ids=(3, 5)) == 5
    assert choice(logit_bias={4: 100.0, 8: -5.0}) == 4
    assert choice(bad_word_ids=[[8], [6, 7]]) == 7
    assert choice([6], bad_word_ids=[[8], [6, 7]]) == 6
    assert choice([7, 6], bad_word_ids=[[6, 7, 8]]) == 8
    assert choice([6, 7], bad_word_ids=[[6, 7, 8]]) == 7
    assert choice(ending=True) == EOS
    assert choice(ending=True, min_tokens=1) == 8
    assert choice([4], ending=True, min_tokens=1) == EOS
    assert choice(stop_token_ids=(8,), min_tokens=3) == 7


def test_settings_that_leave_no_token_fail_alone() -> None:
    logits = torch.zeros(2, VOCAB)
    impossible = make_request([1], [], allowed_token_ids=(4,), bad_word_ids=[[4]])
    fine = make_request([1], [], "fine", temperature=0.0)
    failed, chosen = sample(logits, impossible, fine)
    assert failed.failure == Failure("invalid", "its settings leave no token to choose")
    assert chosen.failure is None


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_logits_that_are_no_numbers_fail_alone(broken: float) -> None:
    logits = torch.zeros(4, VOCAB)
    logits[:, 6] = 50.0
    logits[:2, 3] = broken
    requests = [
        make_request([1], [], f"{i}", temperature=temperature, logprobs=2, presence_penalty=0.1)
        for i, temperature in enumerate((0, 1.0, 0, 1.0))
    ]
    sampled = sample(logits, *requests)
    for token in sampled[:2]:
        assert token.failure == Failure("failed", f"the model gave {broken} as a logit")
    assert [(token.token_ids, token.failure) for token in sampled[2:]] == [([6], None)] * 2


class OnlyEven:
    """A logits processor as a plugin would bring it."""

    def __init__(self, arguments: Any) -> None:
        self._factor = arguments["factor"]

    def __call__(self, prompt: list[int], output: list[int], logits: torch.Tensor) -> torch.Tensor:
        if len(output) == 3:
            raise RuntimeError("three is too many")
        return torch.where(torch.arange(len(logits)) % self._factor == 0, logits, -torch.inf)


def test_logits_processors_from_plugins() -> None:
    spec = LogitsProcessorSpec("only-multiples", f"{__name__}:OnlyEven")
    processors = {"only-multiples": spec}
    logits = torch.arange(VOCAB, dtype=torch.float32).expand(3, -1).clone()
    asked = {"only-multiples": {"factor": 7}}
    multiple = make_request([1], [], "a", temperature=0, logits_processors=asked)
    failing = make_request([1], [1, 1, 1], "b", temperature=0, logits_processors=asked)
    plain = make_request([1], [], "c", temperature=0)
    first, second, third = sample(logits, multiple, failing, plain, processors=processors)
    assert (first.token_ids, third.token_ids) == ([7], [8])
    assert second.failure == Failure(
        "failed", "logits processor 'only-multiples' failed: three is too many"
    )
    wrong = SamplingParams(logits_processors={"only-multiples": {}})
    with pytest.raises(ValueError, match="logits processor 'only-multiples' refused"):
        make_sampler(processors=processors).check(wrong)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 0),
        ("temperature", -1),
        ("temperature", "hot"),
        ("top_p", 0),
        ("min_p", 1.5),
        ("presence_penalty", 3),
        ("repetition_penalty", 0),
        ("logit_bias", {3: 200}),
        ("allowed_token_ids", ()),
        ("min_tokens", 17),
        ("stop", ("",)),
    ],
)
def test_bad_settings_are_named(field: str, value: Any) -> None:
    with pytest.raises(RequestError, match=field) as raised:
        SamplingParams(**{field: value})
    assert raised.value.param == field
