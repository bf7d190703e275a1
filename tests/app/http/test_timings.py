"""What an answer took, as `include_timings` asks: held against the client's clock, the server's
metrics and what the engine encoded."""

from __future__ import annotations

import base64
import io
import json
import time
from typing import Any

import httpx
import numpy as np
import pytest
from octavo import LLM
from openai import OpenAI
from PIL import Image
from serving import metric

STAGES = ("queue_ms", "images_ms", "encode_ms", "prefill_ms", "decode_ms")
#: Long enough to fill the block that the last of an image's tokens are in.
QUESTION = {"type": "text", "text": "What do you see in these pictures? Please tell me about it."}

Part = dict[str, Any]


def encode(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def picture(seed: int) -> Part:
    url = "data:image/png;base64," + base64.b64encode(encode(seed)).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def body(*parts: Part, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": [*parts, QUESTION]}]
    return {"messages": messages, "max_tokens": 6, "include_timings": True, **fields}


def ask(base: str, *parts: Part, **fields: Any) -> dict[str, Any]:
    """The answer; "wall" is what it took the client, in milliseconds."""
    started = time.monotonic()
    given = body(*parts, **fields)
    response = httpx.post(f"{base}/v1/chat/completions", json=given, timeout=240)
    wall = (time.monotonic() - started) * 1000
    assert response.status_code == 200, response.text
    return {**response.json(), "wall": wall}


def sources(base: str, *parts: Part, **fields: Any) -> list[str]:
    timings = ask(base, *parts, **fields)["timings"]
    return [image["source"] for image in timings["images"]]


def encoded(base: str) -> float:
    return metric(base, "encoder_runs_total")


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("stop", [[], ["e"]])
def test_stages_fit_into_what_the_client_waited(demo_server: str, n: int, stop: list[str]) -> None:
    """Also where a stop string ends the answer, of which the engine knows nothing."""
    answer = ask(demo_server, picture(n), ignore_eos=True, max_tokens=20, n=n, seed=1, stop=stop)
    timings = answer["timings"]
    assert set(timings) == {*STAGES, "tokens_per_second", "images"}
    assert min(timings[stage] for stage in STAGES) >= 0
    assert sum(timings[stage] for stage in STAGES) <= answer["wall"]
    assert timings["prefill_ms"] > 0
    following = answer["usage"]["completion_tokens"] - n
    if following:
        # Of three digits after the point, which are few of a stop string's short answer.
        decode_ms = following / timings["tokens_per_second"] * 1000
        assert timings["decode_ms"] == pytest.approx(decode_ms, rel=1e-3, abs=6e-4)
    else:
        assert timings["tokens_per_second"] is None


def test_one_token_has_no_speed(demo_server: str) -> None:
    timings = ask(demo_server, max_tokens=1)["timings"]
    assert timings["tokens_per_second"] is None
    assert (timings["images"], timings["images_ms"], timings["encode_ms"]) == ([], 0, 0)


def test_sources_are_told_as_the_engine_encodes(demo_server: str, offline: LLM) -> None:
    """After each request: where its features came from, and how many images were encoded."""
    messages = [{"role": "user", "content": [{"type": "image", "image": encode(14)}, QUESTION]}]
    buffer = io.BytesIO()
    (features,) = offline.encode_images(messages)
    np.save(buffer, features.float().numpy())
    given = {
        "type": "image_embeds",
        "image_embeds": base64.b64encode(buffer.getvalue()).decode(),
    }
    expected = [
        ([picture(11)], {}, ["encoded"]),
        ([picture(11)], {"cache_salt": "another"}, ["engine"]),
        ([picture(11)], {}, ["prefix"]),
        ([picture(12), picture(12)], {}, ["encoded", "engine"]),
        ([picture(12), picture(13)], {}, ["engine", "encoded"]),
        ([picture(15)], {"n": 2}, ["encoded"]),
        ([given], {}, ["request"]),
        ([], {}, []),
    ]
    for parts, fields, wanted in expected:
        before = encoded(demo_server)
        assert sources(demo_server, *parts, **fields) == wanted
        assert encoded(demo_server) - before == wanted.count("encoded")


def test_metrics_have_the_same_times(demo_server: str) -> None:
    names = {
        "queue_ms": "request_queue_time_seconds_sum",
        "encode_ms": 'image_stage_seconds_sum{stage="encode"}',
        "prefill_ms": "request_prefill_time_seconds_sum",
    }
    ask(demo_server, picture(20))  # a stage is exposed from its first image on
    before = {stage: metric(demo_server, name) for stage, name in names.items()}
    timings = ask(demo_server, picture(21))["timings"]
    for stage, name in names.items():
        seconds = metric(demo_server, name) - before[stage]
        assert timings[stage] == pytest.approx(seconds * 1000, abs=0.01)
    for name in ("queue", "prefill", "preparation"):
        counted = metric(demo_server, f"request_{name}_time_seconds_count")
        assert counted == metric(demo_server, "time_to_first_token_seconds_count")


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_stream_says_it_in_its_last_chunk(demo_server: str, include_usage: bool) -> None:
    given = body(stream=True, stream_options={"include_usage": include_usage})
    answer = httpx.post(f"{demo_server}/v1/chat/completions", json=given, timeout=240)
    *events, done = answer.text.strip().split("\n\n")
    assert done == "data: [DONE]"
    *chunks, last = (json.loads(event.removeprefix("data: ")) for event in events)
    assert not any("timings" in chunk for chunk in chunks)
    assert last["choices"] == []
    assert ("usage" in last) == include_usage
    assert sum(last["timings"][stage] for stage in STAGES) > 0


def test_the_openai_package_passes_it_on(demo_server: str) -> None:
    with OpenAI(base_url=f"{demo_server}/v1", api_key="none") as client:
        answer = client.chat.completions.create(
            model="octavo-demo",
            messages=[{"role": "user", "content": "Hello"}],
            extra_body={"include_timings": True},
        )
    assert answer.model_extra is not None
    assert answer.model_extra["timings"]["images"] == []
