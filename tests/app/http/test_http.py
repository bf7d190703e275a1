"""The HTTP API through real clients: the openai SDK against a server process."""

from __future__ import annotations

import base64
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from octavo import LLM, SamplingParams
from octavo.core.protocol.request_error import RequestError
from openai import OpenAI
from PIL import Image
from serving import free_blocks, wait_until

MAX_BODY_MIB = 4  # of the demo server
PICTURES = Path(__file__).parents[3] / "examples" / "images"


def data_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def ask(text: str, images: list[Image.Image]) -> list[Any]:
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": data_url(image)}} for image in images
    ]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


@pytest.fixture(scope="module")
def url(demo_server: str) -> str:
    return demo_server


def expected_text(offline: LLM, text: str, images: list[Image.Image]) -> str:
    params = offline.default_sampling_params(temperature=0, max_tokens=24)
    answer: str = offline.chat(ask(text, images), params)[0].outputs[0].text
    return answer


def test_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["octavo-demo"]


@pytest.mark.parametrize("name", ["car", "dog", "pizza", "strawberry"])
def test_a_real_picture_gets_its_name(client: OpenAI, name: str) -> None:
    with Image.open(PICTURES / f"{name}.png") as picture:
        messages = ask("What is this?", [picture])
    completion = client.chat.completions.create(model="octavo-demo", messages=messages)
    assert name in str(completion.choices[0].message.content)


def test_sixteen_at_once(client: OpenAI, offline: LLM, pictures: list[Image.Image]) -> None:
    questions = [
        (f"What is this{'?' * (1 + i % 3)}", pictures[: i % 4], bool(i % 2)) for i in range(16)
    ]

    def answer(question: tuple[str, list[Image.Image], bool]) -> str:
        text, images, stream = question
        settings: dict[str, Any] = {
            "model": "octavo-demo",
            "messages": ask(text, images),
            "temperature": 0,
            "max_tokens": 24,
        }
        if not stream:
            completion = client.chat.completions.create(**settings)
            assert completion.usage.total_tokens == (
                completion.usage.prompt_tokens + completion.usage.completion_tokens
            )
            return completion.choices[0].message.content or ""
        chunks = client.chat.completions.create(
            **settings, stream=True, stream_options={"include_usage": True}
        )
        collected = list(chunks)
        assert collected[-1].usage.completion_tokens >= 1
        return "".join(c.choices[0].delta.content or "" for c in collected if c.choices)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(answer, questions))
    assert answers == [expected_text(offline, text, images) for text, images, _ in questions]


def test_logprobs(client: OpenAI) -> None:
    completion = client.chat.completions.create(
        model="octavo-demo",
        messages=[{"role": "user", "content": "Hello"}],
        max_tokens=3,
        logprobs=True,
        top_logprobs=2,
    )
    content = completion.choices[0].logprobs.content
    assert len(content) == completion.usage.completion_tokens
    assert all(len(position.top_logprobs) == 2 for position in content)


GOOD = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}


@pytest.mark.parametrize("field", ["top_logprobs", "prompt_logprobs"])
def test_log_probabilities_are_capped(url: str, field: str) -> None:
    """All of a vocabulary at each position is gigabytes."""
    for count, status in ((20, 200), (21, 400), (-1, 400), (10**9, 400)):
        answer = httpx.post(
            f"{url}/v1/chat/completions", json={**GOOD, "logprobs": True, field: count}, timeout=60
        )
        assert answer.status_code == status, answer.text
        if status == 400:
            error = answer.json()["error"]
            assert error["param"] == field
            assert "at most 20" in error["message"]


def test_what_is_not_streamed_is_refused(url: str) -> None:
    body = {**GOOD, "prompt_logprobs": 1, "stream": True}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=240)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt_logprobs")


def test_another_cap_of_log_probabilities() -> None:
    params = SamplingParams(max_tokens=1, logprobs=3)
    llm = LLM(dtype="float32", kv_cache_memory=16 * 2**20, max_logprobs=2)
    with pytest.raises(RequestError, match=r"logprobs is 3; .* at most 2") as raised:
        llm.generate("Hello", params)
    assert raised.value.param == "logprobs"


def with_image(url: str) -> dict[str, Any]:
    parts = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": url}}]
    return {"messages": [{"role": "user", "content": parts}]}


def half(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = buffer.getvalue()[: len(buffer.getvalue()) // 2]
    return "data:image/png;base64," + base64.b64encode(data).decode()


BAD = {
    "malformed JSON": (b"{", 400, "not valid JSON"),
    "no messages": ({}, 400, "messages"),
    "wrong type": ({**GOOD, "max_tokens": "many"}, 400, "max_tokens"),
    "unknown model": ({**GOOD, "model": "gpt-9"}, 404, "gpt-9"),
    "beyond the context": ({**GOOD, "max_tokens": 10**6}, 400, "max_tokens"),
    "temperature": ({**GOOD, "temperature": -1}, 400, "temperature"),
    "too many answers": ({**GOOD, "n": 1000}, 400, "n must be between"),
    "outside the vocabulary": ({**GOOD, "logit_bias": {"99999": 1}}, 400, "logit_bias has token"),
    "no such processor": ({**GOOD, "logits_processors": {"x": {}}}, 400, "logits processor 'x'"),
    "beams and a stream": ({**GOOD, "use_beam_search": True, "stream": True}, 400, "stream"),
    "early stopping": ({**GOOD, "use_beam_search": True, "early_stopping": "now"}, 400, "early"),
    "beyond 64 bits": ({**GOOD, "priority": 2**70}, 400, "too large"),
    "also within a list": ({**GOOD, "stop_token_ids": [2**70]}, 400, "outside the vocabulary"),
    "length penalty": ({**GOOD, "use_beam_search": True, "length_penalty": 1e300}, 400, "length"),
    "timeout": ({**GOOD, "timeout": -1}, 400, "timeout must be above 0"),
    "no image": (
        with_image("data:image/png;base64,aGVsbG8="),
        400,
        r"messages\[0\].content\[1\].image_url: not an image",
    ),
    "truncated": (
        with_image(half(Image.effect_noise((64, 64), 90))),
        400,
        r"content\[1\].image_url: the image is truncated",
    ),
    "remote": (with_image("http://example.com/a.png"), 400, "--allowed-media-domains"),
    "missing file": (with_image("file:///nowhere.png"), 400, "--allowed-local-media-path"),
    "bad base64": (with_image("data:image/png;base64,???"), 400, "no valid base64"),
    "body too large": (b" " * (MAX_BODY_MIB * 2**20 + 1), 413, "larger than"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_and_survived(url: str, name: str) -> None:
    body, status, message = BAD[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = httpx.post(f"{url}/v1/chat/completions", content=content)
    assert response.status_code == status
    assert re.search(message, response.json()["error"]["message"])
    assert httpx.post(f"{url}/v1/chat/completions", json=GOOD, timeout=240).status_code == 200


def test_unknown_path(url: str) -> None:
    response = httpx.get(f"{url}/v2/nothing")
    assert response.status_code == 404
    assert "/v2/nothing" in response.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_disconnected_clients_give_everything_back(url: str, stream: bool) -> None:
    before = free_blocks(url)
    # More than any machine writes in the time.
    body = {**GOOD, "n": 8, "max_tokens": 1500, "ignore_eos": True, "stream": stream}
    for _ in range(3):
        with (
            pytest.raises(httpx.ReadTimeout),
            httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=0.25) as response,
        ):
            response.read() if not stream else read_slowly(response)
    wait_until(lambda: free_blocks(url) == before, 20)


def read_slowly(response: httpx.Response) -> None:
    for _ in response.iter_lines():
        raise httpx.ReadTimeout("gone")
