"""POST /v1/embeddings gives the offline class's vectors, computes none twice, and stays up."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import signal
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import jsonschema
import numpy as np
import open_clip
import pytest
import torch
from embedding_checkpoints import TEXT, TEXTS, save_processor
from octavo import EmbeddingModel
from octavo.app.cli.cli import build_parser
from octavo.app.cli.engine_options import engine_config
from octavo.app.http.embedding_server import _warn_of_unused
from octavo.app.http.embedding_server import create_app as create_embedding_app
from octavo.app.http.server import create_app
from octavo.app.serving.embedding_state import EmbeddingState
from octavo.core.embedding.embedder_messages import EmbedderReady
from octavo.core.embedding.embedding_metrics import EmbeddingMetrics
from octavo.core.observe.http_metrics import HttpMetrics
from ollama import Client, ResponseError
from openai import BadRequestError, OpenAI
from PIL import Image
from prometheus_client import CollectorRegistry
from redis import Redis
from redis_server import MISSING, RedisServer, find_servers
from serving import chat, is_healthy, metric, running_server, wait_until
from starlette.testclient import TestClient
from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor
from vision_checkpoints.llava import VISION

CONTEXT = TEXT["max_position_embeddings"]
TOLERANCE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights."""
    folder = tmp_path_factory.mktemp("models") / "tiny-siglip"
    torch.manual_seed(0)
    SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION)).save_pretrained(folder)
    images = SiglipImageProcessor(size={"height": 32, "width": 32})
    save_processor(images, SiglipProcessor, folder)
    return folder


@pytest.fixture(scope="module")
def url(siglip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("batches")
    options = "--max-image-pixels=1000000", "--media-workers=1", f"--batch-dir={folder}"
    with running_server(str(siglip), *options) as base:
        yield base


@pytest.fixture(scope="module")
def model(siglip: Path) -> EmbeddingModel:
    return EmbeddingModel(siglip)


def noise(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def part(image: Image.Image | None, **fields: Any) -> dict[str, Any]:
    url = image and {"url": data_url(png(image))}
    return {"type": "image_url", "image_url": url, **fields}


def post(base: str, given: Any, **fields: Any) -> httpx.Response:
    return httpx.post(f"{base}/v1/embeddings", json={"input": given, **fields}, timeout=240)


def vectors(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    assert [item["index"] for item in data] == list(range(len(data)))
    return np.array([item["embedding"] for item in data])


def refusal(response: httpx.Response, status: int = 400) -> tuple[str, str]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error["message"], error["param"]


def test_the_document_has_what_is_answered(url: str) -> None:
    document = httpx.get(f"{url}/openapi.json").json()
    assert "/v1/embeddings" in document["paths"]
    assert "/v1/chat/completions" not in document["paths"]
    answer = post(url, ["a dog"]).json()
    jsonschema.validate(answer, {"$ref": "#/components/schemas/Embeddings", **document})


def test_a_batch_has_the_same_vectors(client: OpenAI) -> None:
    lines = [
        {"custom_id": str(i), "method": "POST", "url": "/v1/embeddings", "body": {"input": text}}
        for i, text in enumerate(TEXTS[:2])
    ]
    data = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("in.jsonl", data), purpose="batch")
    made = {"input_file_id": file.id, "completion_window": "24h"}
    with pytest.raises(BadRequestError, match="endpoint can only be /v1/embeddings here"):
        client.batches.create(**made, endpoint="/v1/chat/completions")
    batch = client.batches.create(**made, endpoint="/v1/embeddings")
    wait_until(lambda: client.batches.retrieve(batch.id).status == "completed")
    output = client.batches.retrieve(batch.id).output_file_id
    assert output is not None
    rows = [json.loads(row) for row in client.files.content(output).text.splitlines()]
    vectors = [row["response"]["body"]["data"][0]["embedding"] for row in rows]
    assert [row["custom_id"] for row in rows] == ["0", "1"]
    online = client.embeddings.create(model="tiny-siglip", input=list(TEXTS[:2]))
    np.testing.assert_allclose(vectors, [item.embedding for item in online.data], **TOLERANCE)


def test_texts_by_the_openai_sdk(client: OpenAI, url: str, model: EmbeddingModel) -> None:
    """Which asks for base64 unless it is told not to."""
    texts = ["a dog", "two cats on a roof", "long " * 40]
    expected = model.embed_texts(texts)
    usages = []
    for encoding in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
        answer = client.embeddings.create(model="tiny-siglip", input=texts, **encoding)
        given = [item.embedding for item in answer.data]
        if encoding.get("encoding_format") == "base64":
            given = [struct.unpack(f"<{model.dimension}f", base64.b64decode(s)) for s in given]
        np.testing.assert_allclose(given, expected, **TOLERANCE)
        usages.append(answer.usage.prompt_tokens)
        assert answer.usage.total_tokens == answer.usage.prompt_tokens
    alone = [post(url, text).json()["usage"]["prompt_tokens"] for text in texts]
    assert set(usages) == {sum(alone)}
    assert 0 < alone[0] < alone[1] < alone[2] == CONTEXT
    assert [m.id for m in client.models.list()] == ["tiny-siglip"]


def test_images_and_texts_in_order(
    url: str, model: EmbeddingModel, pictures: list[Image.Image]
) -> None:
    transparent = Image.new("RGBA", (20, 30), (0, 0, 0, 0))
    images = [*pictures, transparent, noise(1)]
    expected = np.empty((2 * len(images), model.dimension))
    expected[::2] = model.embed_texts([f"text {i}" for i in range(len(images))])
    expected[1::2] = model.embed_images(images)
    items: list[Any] = []
    for i, image in enumerate(images):
        text = f"text {i}"
        items += [text if i % 2 else {"type": "text", "text": text}, part(image)]
    answer = post(url, items, model="tiny-siglip", dimensions=model.dimension, user="someone")
    np.testing.assert_allclose(vectors(answer), expected, **TOLERANCE)
    assert np.abs(expected[1] - expected[3]).max() > 100 * TOLERANCE["atol"]
    only_texts = post(url, items[::2]).json()["usage"]
    assert answer.json()["usage"] == only_texts


def seen(base: str) -> dict[str, float]:
    names = {
        "encoded": "encoder_runs_total",
        "decoded": 'image_stage_seconds_count{stage="decode"}',
        "hits": 'encoder_cache_hits_total{tier="memory"}',
        "misses": 'encoder_cache_misses_total{tier="memory"}',
    }
    return {short: metric(base, name) for short, name in names.items()}


def gain(base: str, before: dict[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in seen(base).items()}


def test_a_repeated_image_is_not_computed_again(url: str, model: EmbeddingModel) -> None:
    vectors(post(url, [part(noise(10)), part(noise(10))]))
    vectors(post(url, [part(noise(10))]))
    before = seen(url)
    first = vectors(post(url, [part(noise(11), uuid="eleven")]))
    assert gain(url, before) == {"encoded": 1, "decoded": 1, "hits": 0, "misses": 1}
    again = vectors(post(url, ["a dog", part(noise(11)), part(None, uuid="eleven")]))
    assert gain(url, before) == {"encoded": 1, "decoded": 1, "hits": 2, "misses": 1}
    np.testing.assert_array_equal(again[1:], np.concatenate([first, first]))
    np.testing.assert_allclose(first, model.embed_images([noise(11)]), **TOLERANCE)
    said = post(url, ["a dog", part(None, uuid="twelve")])
    assert refusal(said)[1] == "input[1].image_url"
    assert said.json()["error"]["code"] == "image_not_cached"


def test_many_at_once(url: str, model: EmbeddingModel) -> None:
    """While one batch runs, others' texts gather for the next ones of 32; two images that all
    requests show are computed once."""
    before, batches = seen(url), metric(url, "embedding_batches_total")
    answered = metric(url, 'request_success_total{finished_reason="stop"}')
    shared = [part(noise(seed, (900, 900))) for seed in (20, 21)]
    texts = [[f"text {i} {j}" for j in range(8)] for i in range(12)]
    pid = httpx.get(f"{url}/health").json()["engine_pid"]
    with ThreadPoolExecutor(12) as pool:
        os.kill(pid, signal.SIGSTOP)
        posted = [pool.submit(post, url, [*shared, *own]) for own in texts]
        wait_until(lambda: metric(url, "num_requests_running") == 12, 20)
        os.kill(pid, signal.SIGCONT)
        answers = [vectors(future.result()) for future in posted]
    images = model.embed_images([noise(seed, (900, 900)) for seed in (20, 21)])
    for own, answer in zip(texts, answers, strict=True):
        np.testing.assert_allclose(answer[:2], images, **TOLERANCE)
        np.testing.assert_allclose(answer[2:], model.embed_texts(own), **TOLERANCE)
    assert gain(url, before)["encoded"] == gain(url, before)["decoded"] == 2
    # At the most: the first request's texts, those of the 11 others, and each image.
    assert metric(url, "embedding_batches_total") - batches <= 1 + 3 + 2
    wait_until(lambda: metric(url, "num_requests_running") == 0)
    assert metric(url, 'request_success_total{finished_reason="stop"}') - answered == 12


def test_texts_are_cut_off_but_none_is_tokenised_that_is_far_too_long(
    url: str, model: EmbeddingModel
) -> None:
    """No token of the demo model's vocabulary is longer than this word."""
    text = "extraterrestrial " * CONTEXT
    limit = CONTEXT * len("Ġextraterrestrial".encode())
    answer = post(url, text.ljust(limit))
    np.testing.assert_allclose(vectors(answer), model.embed_texts([text]), **TOLERANCE)
    assert answer.json()["usage"]["prompt_tokens"] == CONTEXT
    said, param = refusal(post(url, ["x", text.ljust(limit + 1)]))
    assert said.startswith(f"input[1] has {limit + 1} bytes")
    assert param == "input[1]"


BAD: dict[str, tuple[Any, str, str]] = {
    "nothing": ({}, "input", "input"),
    "null": ({"input": None}, "missing required field", "input"),
    "an object": ({"input": {"type": "text", "text": "x"}}, "a text, or a list", "input"),
    "no items": ({"input": []}, "at least one", "input"),
    "an empty text": ({"input": ""}, "is empty", "input[0]"),
    "one that is empty": ({"input": ["x", ""]}, "is empty", "input[1]"),
    "an empty part": ({"input": ["x", {"type": "text", "text": ""}]}, "is empty", "input[1]"),
    "too long": ({"input": ["x", "é" * 9_999]}, "19998 bytes, and the model's", "input[1]"),
    "token ids": ({"input": [1, 2, 3]}, "token ids are not taken", "input[0]"),
    "lists of them": ({"input": ["x", [1, 2]]}, "token ids are not taken", "input[1]"),
    "too many": ({"input": ["x"] * 2049}, "2049 items, more than the 2048", "input[2048]"),
    "a kind": ({"input": ["x", {"type": "image_embeds"}]}, "part of type text", "input[1]"),
    "no url": ({"input": [{"type": "image_url", "image_url": {}}]}, "url", "input[0].image_url"),
    "dimensions": ({"input": "x", "dimensions": 7}, "can only be 32", "dimensions"),
    "encoding": ({"input": "x", "encoding_format": "hex"}, "hex", "encoding_format"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(url: str, name: str) -> None:
    body, message, param = BAD[name]
    said, where = refusal(httpx.post(f"{url}/v1/embeddings", json=body))
    assert re.search(message, said)
    assert where == param


@pytest.mark.parametrize(
    ("url_of", "message"),
    [
        (lambda: data_url(b"hello"), "not an image"),
        (lambda: data_url(png(noise(30, (64, 64)))[:-500]), "truncated or damaged"),
        (lambda: data_url(png(Image.new("L", (1001, 1000)))), "1001 x 1000"),
        (lambda: "http://example.com/a.png", "--allowed-media-domains"),
        (lambda: "file:///etc/passwd", "--allowed-local-media-path"),
    ],
)
def test_a_bad_image_is_named(url: str, url_of: Any, message: str) -> None:
    bad = {"type": "image_url", "image_url": {"url": url_of()}}
    answer = post(url, ["a dog", bad, part(noise(31))])
    said, param = refusal(answer)
    assert param == "input[1].image_url"
    assert said.startswith(param)
    assert message in said
    assert answer.json()["error"]["code"] == "invalid_image"
    assert vectors(post(url, "a dog")).shape == (1, 32)


def test_ollamas_client_gets_the_same_vectors(url: str) -> None:
    name = "tiny-siglip"
    with Client(url) as llama:
        two = llama.embed(f"{name}:latest", ["a dog", "two cats"], truncate=True, dimensions=32)
        one = llama.embeddings(name, "a dog", options={"num_ctx": 9})
        expected = vectors(post(url, ["a dog", "two cats"]))
        np.testing.assert_allclose(two.embeddings, expected, **TOLERANCE)
        np.testing.assert_allclose(one.embedding, expected[0], **TOLERANCE)
        assert (
            two.prompt_eval_count
            == post(url, ["a dog", "two cats"]).json()["usage"]["total_tokens"]
        )
        assert llama.show(name).capabilities == ["embedding"]
        assert [model.model for model in llama.ps().models] == [f"{name}:latest"]
        for ask, said in (
            (lambda: llama.embed(name, "a", dimensions=9), "dimensions can only be 32"),
            (lambda: llama.embed(name, "a", truncate=False), "truncate can only be true"),
            (lambda: llama.embed(name, ["a", ""]), "input[1] is empty"),
            (lambda: llama.embed(name, "a", options={"top_k": 1}), "options.top_k is no field"),
            (lambda: llama.embeddings(name, ""), "prompt is empty"),
            (
                lambda: llama.chat(name, [{"role": "user", "content": "a"}]),
                "gives embeddings and no",
            ),
        ):
            with pytest.raises(ResponseError, match=re.escape(said)):
                ask()


def test_what_such_a_model_has_not(url: str) -> None:
    others = [
        httpx.post(f"{url}/{path}", json={"prompt": "x"})
        for path in ("v1/completions", "v1/responses", "tokenize", "detokenize")
    ]
    captions = httpx.post(f"{url}/v1/captions", files={"image": b"x"})
    for answer in (chat(url), captions, *others):
        message, param = refusal(answer, 404)
        assert "'tiny-siglip' gives embeddings and no text" in message
        assert "POST /v1/embeddings" in message
        assert param == "model"
    for path in ("messages", "messages/count_tokens"):
        error = httpx.post(f"{url}/v1/{path}", json={}).json()["error"]
        assert error["type"] == "not_found_error"
        assert "gives embeddings and no text" in error["message"]
    assert "'clip-9' is not served" in refusal(post(url, "x", model="clip-9"), 404)[0]


def test_a_generating_model_gives_no_embeddings() -> None:
    """By its application alone, since this is answered from the model's name."""
    metrics = HttpMetrics(CollectorRegistry())
    app = create_app(SimpleNamespace(model_name="octavo-demo", http_metrics=metrics))
    message, param = refusal(TestClient(app).post("/v1/embeddings", json={"input": "a"}), 404)
    assert "'octavo-demo' gives no embeddings" in message
    assert param == "model"


@pytest.mark.redis
def test_open_clip_with_a_store_and_limits(tmp_path: Path, pictures: list[Image.Image]) -> None:
    """Vectors come from Redis where memory keeps none; an operator may limit requests."""
    torch.manual_seed(0)
    weights = tmp_path / "weights.pt"
    torch.save(open_clip.create_model("ViT-S-32-alt").state_dict(), weights)
    name = f"open_clip:ViT-S-32-alt:{weights}"
    offline = EmbeddingModel(name)
    servers = find_servers()
    assert servers, MISSING
    with RedisServer(servers[0]) as redis:
        store = (f"--encoder-cache={redis.url}?socket_timeout=5", "--encoder-cache-memory=0")
        limits = ("--max-num-seqs=1", "--max-num-queued-reqs=0")
        with running_server(name, *store, *limits) as base:
            served = httpx.get(f"{base}/v1/models").json()["data"][0]
            assert served["id"] == "open_clip:ViT-S-32-alt:weights.pt"
            assert served["dimensions"] == offline.dimension
            images = list(map(part, pictures))
            expected = offline.embed_images(pictures)
            np.testing.assert_allclose(vectors(post(base, images)), expected, **TOLERANCE)
            wait_until(lambda: metric(base, 'encoder_cache_writes_total{tier="redis"}') == 3, 5)
            np.testing.assert_allclose(vectors(post(base, images)), expected, **TOLERANCE)
            assert metric(base, "encoder_runs_total") == 3
            assert metric(base, 'encoder_cache_hits_total{tier="redis"}') == 3
            texts = TEXTS[:2]
            answer = post(base, texts)
            np.testing.assert_allclose(vectors(answer), offline.embed_texts(texts), **TOLERANCE)
            tokenizer = open_clip.get_tokenizer("ViT-S-32-alt")
            count = sum(len(tokenizer.encode(text)) + 2 for text in texts)
            assert answer.json()["usage"]["prompt_tokens"] == count
            check_limits(base)
            stored = Redis.from_url(redis.url)
            num_stored = stored.dbsize()
            # So that it is still to be written when the server is told to end.
            stored.client_pause(500, all=False)
            vectors(post(base, [part(noise(50))]))
        assert stored.dbsize() == num_stored + 1
        stored.close()


def check_limits(base: str) -> None:
    """One request at a time."""
    pid = httpx.get(f"{base}/health").json()["engine_pid"]
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(post, base, "a dog")
        wait_until(lambda: metric(base, "num_requests_running") == 1, 5)
        refused = post(base, "a cat")
        os.kill(pid, signal.SIGCONT)
        assert len(vectors(late.result())) == 1
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "overloaded"
    assert len(vectors(post(base, "a dog"))) == 1


def test_no_request_lasts_longer_than_the_operator_allows() -> None:
    """By an embedder that answers nothing."""

    async def never(text: str, client: str) -> None:
        await asyncio.Event().wait()

    embedder = SimpleNamespace(
        ready=EmbedderReady(32, 100, "", ""), admission=lambda *_: nullcontext()
    )
    embedder.embed_text = never
    metrics = EmbeddingMetrics()
    state = EmbeddingState(embedder, None, None, None, metrics, "tiny", 1000, 1, 0.05, 0)  # type: ignore[arg-type]
    answer = TestClient(create_embedding_app(state)).post("/v1/embeddings", json={"input": "a"})
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "timeout"


def test_a_killed_embedder_comes_back(url: str, model: EmbeddingModel) -> None:
    """Open requests end with an error that says so."""
    answers: list[httpx.Response] = []
    items = ["a dog", part(noise(40))]
    threads = [threading.Thread(target=lambda: answers.append(post(url, items))) for _ in range(2)]
    pid = httpx.get(f"{url}/health").json()["engine_pid"]
    os.kill(pid, signal.SIGSTOP)  # so that they are open for long enough
    for thread in threads:
        thread.start()
    wait_until(lambda: metric(url, "num_requests_running") == 2, 20)
    os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    for answer in answers:
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        error = answer.json()["error"]
        assert error["code"] == "engine_dead"
        assert "the engine died (killed by signal 9) and the request with it" in error["message"]
    assert post(url, "a dog").status_code == 503
    assert httpx.get(f"{url}/health").status_code == 503
    wait_until(lambda: is_healthy(url), 30)
    np.testing.assert_allclose(
        vectors(post(url, "a dog")), model.embed_texts(["a dog"]), **TOLERANCE
    )
    assert metric(url, "engine_restarts_total") == 1


@pytest.mark.parametrize(
    ("given", "unused"),
    [
        ([], ""),
        (
            ["--max-logprobs=3", "--max-num-batched-tokens=64"],
            "--max-num-batched-tokens, --max-logprobs",
        ),
    ],
)
def test_settings_without_effect_are_named_if_they_are_given(
    caplog: pytest.LogCaptureFixture, given: list[str], unused: str
) -> None:
    _warn_of_unused(engine_config(build_parser()[0].parse_args(["serve", "x", *given])))
    assert caplog.text.endswith(f": {unused}\n" if unused else "")
    assert bool(caplog.text) == bool(unused)
