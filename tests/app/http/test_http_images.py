"""Images over HTTP: where they may come from, what they may be, and what is said of those that
can't be used."""

from __future__ import annotations

import base64
import io
import re
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import safetensors.numpy
from octavo import LLM, SamplingParams
from PIL import Image
from pillow_heif import register_heif_opener
from serving import metric, running_server

MAX_IMAGES = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with running_server(
        "--dtype=float32",
        "--kv-cache-memory=64MiB",
        "--max-image-pixels=1000000",
        "--max-image-bytes=3MiB",
        f"--max-images-per-prompt={MAX_IMAGES}",
        f"--allowed-local-media-path={folder}",
        "--image-background=#ff0000",
        "--media-workers=1",
        "--max-queued-images=4",
    ) as base:
        yield base


def encode(image: Image.Image, name: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def data_url(data: bytes) -> str:
    return "data:image/x;base64," + base64.b64encode(data).decode()


def noise(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def post(base: str, *parts: dict[str, Any]) -> httpx.Response:
    content = [*parts, {"type": "text", "text": "What is this?"}]
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 4, "temperature": 0}
    return httpx.post(f"{base}/v1/chat/completions", json=body, timeout=240)


def image(url: str | None, **fields: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": url and {"url": url}, **fields}


def text_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


def refusal_of(response: httpx.Response, status: int = 400) -> tuple[str, str]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    return error["message"], error["param"]


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_formats(url: str, offline: LLM, name: str) -> None:
    register_heif_opener()
    data = encode(noise(1), name)
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    params = SamplingParams(temperature=0, max_tokens=4)
    parts = [{"type": "image", "image": picture}, {"type": "text", "text": "What is this?"}]
    expected = offline.chat([{"role": "user", "content": parts}], params)[0].outputs[0].text
    assert text_of(post(url, image(data_url(data)))) == expected


def test_what_is_transparent_shows_the_background(url: str) -> None:
    clear, red = Image.new("RGBA", (64, 64), (0, 0, 0, 0)), Image.new("RGB", (64, 64), "red")
    answers = {text_of(post(url, image(data_url(encode(i))))) for i in (clear, red)}
    assert len(answers) == 1


def test_a_local_file_within_the_folder_only(url: str, folder: Path, tmp_path: Path) -> None:
    (folder / "picture.png").write_bytes(encode(noise(2)))
    assert text_of(post(url, image(f"file://{folder}/picture.png")))
    (tmp_path / "secret.png").write_bytes(encode(noise(2)))
    message, param = refusal_of(post(url, image(f"file://{tmp_path}/secret.png")))
    assert "--allowed-local-media-path" in message
    assert param == "messages[0].content[0].image_url"


REFUSED = {
    "too many pixels": (lambda: encode(Image.new("L", (1001, 1000))), r"1001 x 1000"),
    "too many bytes": (lambda: encode(noise(3, (1000, 999))) * 2, r"bytes"),
    "a text": (lambda: b"hello", r"not an image"),
    "nothing": (lambda: b"", r"."),
    "truncated": (lambda: encode(noise(4))[:-500], r"truncated or damaged"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_image_at_fault_is_named(url: str, name: str) -> None:
    make, message = REFUSED[name]
    good = image(data_url(encode(noise(5))))
    said, param = refusal_of(post(url, good, image(data_url(make()))))
    assert param == "messages[0].content[1].image_url"
    assert said.startswith(param)
    assert re.search(message, said)


def test_too_many_images(url: str) -> None:
    parts = [image(data_url(encode(noise(6)))) for _ in range(MAX_IMAGES + 1)]
    message, param = refusal_of(post(url, *parts))
    assert f"more than the {MAX_IMAGES} allowed" in message
    assert param == f"messages[0].content[{MAX_IMAGES}].image_url"


def test_more_images_than_may_wait_are_refused_for_now(url: str) -> None:
    def flood(seed: int) -> httpx.Response:
        parts = [image(data_url(encode(noise(1000 + 3 * seed + i, (900, 900))))) for i in range(3)]
        return post(url, *parts)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(flood, range(12)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    for answer in refused:
        message, param = refusal_of(answer, 429)
        assert "4 images wait to be read already" in message
        assert re.fullmatch(r"messages\[0\]\.content\[\d\]\.image_url", param)
        assert int(answer.headers["Retry-After"]) >= 1
    assert text_of(post(url, image(data_url(encode(noise(1))))))


def npy(array: np.ndarray) -> str:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return base64.b64encode(buffer.getvalue()).decode()


def raw_npy(header: bytes) -> str:
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header))
    return base64.b64encode(start + header + bytes(64)).decode()


def float8() -> str:
    header = b'{"x":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[0,4]}}'
    data = struct.pack("<Q", len(header)) + header + bytes(4)
    return base64.b64encode(data).decode()


def test_features_in_place_of_an_image(url: str, offline: LLM) -> None:
    picture = noise(7)
    chat = [{"type": "image", "image": picture}, {"type": "text", "text": "What is this?"}]
    (features,) = offline.encode_images([{"role": "user", "content": chat}])
    array = features.numpy()
    expected = text_of(post(url, image(data_url(encode(picture)))))
    before = metric(url, "encoder_runs_total")
    stored = base64.b64encode(safetensors.numpy.save({"any name": array})).decode()
    for given in (npy(array), stored):
        part = {"type": "image_embeds", "image_embeds": given}
        assert text_of(post(url, part)) == expected
    assert metric(url, "encoder_runs_total") == before
    offline_part = [{"type": "image_embeds", "image_embeds": features}, chat[1]]
    params = SamplingParams(temperature=0, max_tokens=4)
    (output,) = offline.chat([{"role": "user", "content": offline_part}], params)
    assert output.outputs[0].text == expected


BAD_FEATURES = {
    "too few": (lambda a: npy(a[:-1]), r"shape \[63, \d+\], the model takes \[64, \d+\]"),
    "too narrow": (lambda a: npy(a[:, :-1]), r"the model takes \[64, \d+\]"),
    "not finite": (lambda a: npy(np.full_like(a, np.nan)), r"not finite"),
    "integers": (lambda a: npy(a.astype(np.int64)), r"float32 or float16"),
    "objects": (lambda a: npy(np.array([{}], dtype=object)), r"can't be read"),
    "an open header": (lambda a: raw_npy(b"{'descr': ("), r"can't be read"),
    "a deep header": (lambda a: raw_npy(b"(" * 5000), r"can't be read"),
    "a dtype of commas": (
        lambda a: raw_npy(b"{'descr': ',,,', 'fortran_order': False, 'shape': (1, 1)}"),
        r"can't be read",
    ),
    "safetensors in 8 bits": (lambda a: float8(), r"can't be read"),
    "a liar": (lambda a: npy(a)[:400], r"can't be read"),
    "no base64": (lambda a: "???", r"base64"),
    "no text": (lambda a: [[1.0]], r"base64"),
}


@pytest.mark.parametrize("name", BAD_FEATURES)
def test_bad_features_are_refused(url: str, offline: LLM, name: str) -> None:
    make, message = BAD_FEATURES[name]
    array = np.zeros((64, offline._facts.hidden_size), dtype=np.float32)
    said, param = refusal_of(post(url, {"type": "image_embeds", "image_embeds": make(array)}))
    assert param == "messages[0].content[0].image_embeds"
    assert re.search(message, said)


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (image(None), "image_url"),
        (image(None, uuid=""), "uuid"),
        (image("data:image/png;base64,aGVsbG8=", uuid=7), "uuid"),
        ({"type": "image_embeds", "image_embeds": "AAAA", "image_size": [0, 1]}, "image_size"),
        ({"type": "image_embeds"}, "image_embeds"),
        ({"type": "image", "image": "/etc/passwd"}, None),
        (image("ftp://example.com/x.png"), "image_url"),
        (image("http://example.com/" + "é" * 10**6), "image_url"),
    ],
)
def test_bad_parts_are_named(url: str, part: dict[str, Any], param: str | None) -> None:
    where = "messages[0].content[0]"
    assert refusal_of(post(url, part))[1] == (where if param is None else f"{where}.{param}")


def test_captions_from_a_form(url: str) -> None:
    files = [("image", (f"{i}.png", encode(noise(i)), "image/png")) for i in (1, 2)]
    fields = {"prompt": "What is this?", "max_tokens": "4", "temperature": "0"}
    answer = httpx.post(f"{url}/v1/captions", files=files, data=fields, timeout=240)
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert [item["filename"] for item in data] == ["1.png", "2.png"]
    expected = [text_of(post(url, image(data_url(encode(noise(i)))))) for i in (1, 2)]
    assert [item["caption"] for item in data] == expected


FORMS = {
    "no file": ({"data": {"prompt": "x"}, "files": {"other": b"x"}}, 400, "other"),
    "no image": ({"files": {"image": b"hello"}}, 400, "image[0]"),
    "no number": ({"files": {"image": b"x"}, "data": {"max_tokens": "many"}}, 400, "max_tokens"),
    "no form": ({"json": {}}, 415, None),
    "too many": ({"files": [("image", b"x")] * (MAX_IMAGES + 1)}, 400, None),
    "another charset": (
        {
            "content": b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\\ud800\r\n'
            b"--x--\r\n",
            "headers": {"Content-Type": "multipart/form-data; charset=unicode_escape; boundary=x"},
        },
        415,
        None,
    ),
    "in pieces": ({"content": iter([b"--x--"])}, 411, None),
}


@pytest.mark.parametrize("name", FORMS)
def test_bad_forms_are_refused(url: str, name: str) -> None:
    arguments, status, param = FORMS[name]
    assert refusal_of(httpx.post(f"{url}/v1/captions", **arguments), status)[1] == param


def test_the_stages_sum_to_the_time_to_first_token(url: str) -> None:
    """Of requests with one new image each; what is left is tokenising and the way back."""
    stages = [f'image_stage_seconds_sum{{stage="{s}"}}'
              for s in ("fetch", "inspect", "pool", "decode", "preprocess", "encode")]  # fmt: skip
    stages += ["request_queue_time_seconds_sum", "request_prefill_time_seconds_sum"]
    total = "time_to_first_token_seconds_sum"
    before = {name: metric(url, name) for name in (*stages, total)}
    for seed in range(100, 108):
        text_of(post(url, image(data_url(encode(noise(seed, (900, 900)))))))
    took = {name: metric(url, name) - before[name] for name in before}
    assert sum(took[name] for name in stages) == pytest.approx(took[total], rel=0.2)
    preparation = metric(url, "request_preparation_time_seconds_sum")
    assert preparation > took[stages[0]]
