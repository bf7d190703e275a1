"""Images of any size: stacked with others, and under a limit of tokens."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from octavo import LLM, RequestError, SamplingParams
from octavo.app.serving.chat_messages import read_messages
from octavo.core.contracts.specs import ImagePreprocessor, ImageSize
from octavo.core.engine.execution import encoder_runner
from octavo.core.prompts import image_views
from octavo.core.prompts.input_processor import RequestOptions
from octavo.plugins.encoders.qwen_vit.preprocessor import QwenPreprocessor
from octavo.plugins.models.idefics3.preprocessor import Idefics3Preprocessor
from octavo.plugins.models.internvl.preprocessor import InternVLPreprocessor
from octavo.plugins.models.llava.anyres_preprocessor import OneVisionPreprocessor
from PIL import Image
from vision_checkpoints import VISION_MODELS
from vision_checkpoints.llava_anyres import MANY
from vision_checkpoints.qwen import save_qwen

PARAMS = SamplingParams(max_tokens=1)
VISION = {"patch_size": 4, "temporal_patch_size": 2, "spatial_merge_size": 2}


@pytest.mark.parametrize("name", VISION_MODELS)
def test_images_of_any_sizes_are_computed_together(
    name: str, tmp_path: Path, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one call of the model, with the features that each has alone."""
    save, _ = VISION_MODELS[name]
    llm = LLM(save(tmp_path), dtype="float32")
    model = llm._core._executor._runner._model
    calls, encode = [], model.encode_images

    def count(images: list[torch.Tensor], layouts: list[tuple[int, ...]]) -> object:
        calls.append(len(images))
        return encode(images, layouts)

    monkeypatch.setattr(model, "encode_images", count)
    sizes = [(97, 60), (40, 130), (64, 64), (60, 97)]
    shown = [pictures[i % 2].resize(size) for i, size in enumerate(sizes)]
    alone = [llm.encode_images(picture_chat(picture))[0] for picture in shown]
    runner = llm._core._executor._runner._encoder
    media = [m for p in shown for m in llm.prepare_chat(picture_chat(p), PARAMS).media]
    for limit, expected in ((encoder_runner._BYTES_TOGETHER, [4]), (1, [1] * 4)):
        calls.clear()
        monkeypatch.setattr(encoder_runner, "_BYTES_TOGETHER", limit)
        with torch.inference_mode():
            found = runner.compute(media)
        assert calls == expected
        for features, together in zip(alone, found.values(), strict=True):
            torch.testing.assert_close(together, features, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("generation", ["qwen2-vl", "qwen2.5-vl"])
def test_the_shape_of_a_grid_matters(generation: str, tmp_path: Path) -> None:
    model = LLM(save_qwen(tmp_path, generation), dtype="float32")._core._executor._runner._model
    torch.manual_seed(0)
    pixels = list(torch.randn(3, 24, 3 * 2 * 4 * 4))
    layouts = [(4, 6), (6, 4), (2, 12)]
    with torch.inference_mode():
        together = model.encode_images(pixels, layouts)
        for i, layout in enumerate(layouts):
            (alone,) = model.encode_images([pixels[i]], [layout])
            torch.testing.assert_close(together[i], alone)
        same = model.encode_images(pixels, [layouts[0]] * 3)
        torch.testing.assert_close(same[0], together[0], atol=1e-5, rtol=0)
        assert not torch.allclose(same[1], together[1])


def picture_chat(picture: Image.Image, **image_url: str) -> list[dict[str, object]]:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    part = {"type": "image_url", "image_url": {"url": url, **image_url}}
    return [{"role": "user", "content": [part, {"type": "text", "text": "What is this?"}]}]


def test_limits_of_operator_request_and_detail(
    tmp_path: Path, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same picture under another limit is another image to the caches."""
    monkeypatch.setattr(image_views, "LOW_DETAIL_TOKENS", 9)
    llm = LLM(save_qwen(tmp_path, "qwen2-vl"), dtype="float32", max_image_tokens=30)
    params = SamplingParams(temperature=0, max_tokens=1)

    def tokens(limit: int | None = None, **image_url: str) -> int:
        rendered, parts = read_messages(picture_chat(pictures[1], **image_url))
        ids = llm._inputs.encode_chat(rendered)
        options = RequestOptions(max_image_tokens=limit)
        (output,) = llm.run([llm._build(ids, parts, params, options)])
        image_id = llm._inputs._images.image_prompt.image_token_id
        assert output.num_image_tokens == output.prompt_token_ids.count(image_id)
        return output.num_image_tokens

    assert 20 < tokens() <= 30
    assert llm.stats().encoder_runs == 1
    assert tokens(detail="high") == tokens(1000) == tokens()
    assert llm.stats().encoder_runs == 1
    assert 4 <= tokens(12) <= 12
    assert 4 <= tokens(detail="low") <= 9
    assert llm.stats().encoder_runs == 3
    with pytest.raises(RequestError, match=r"detail must be one of auto, low, high"):
        tokens(detail="tiny")


def test_a_model_without_a_choice_refuses(
    checkpoints: dict[str, Path], pictures: list[Image.Image]
) -> None:
    chat = picture_chat(pictures[0], detail="low")
    llm = LLM(checkpoints["llava-clip"], dtype="float32", max_image_tokens=16)
    assert llm.chat(chat)[0].num_image_tokens == 16
    llm = LLM(checkpoints["llava-clip"], dtype="float32", max_image_tokens=15)
    with pytest.raises(RequestError, match=r"content\[0\].*takes 16 tokens.*max_image_tokens, 15"):
        llm.chat(chat)


@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 300))
def test_a_limit_holds_where_the_aspect_allows(width: int, height: int, limit: int) -> None:
    free = QwenPreprocessor(VISION, {"min_pixels": 64, "max_pixels": 64 * 400})
    limited = free.limited(limit)
    size = ImageSize(width, height)
    if max(size) > 200 * min(size):
        with pytest.raises(ValueError, match="at most 200 times"):
            limited.num_tokens(size)
        return
    count = limited.num_tokens(size)
    rows, columns = limited.grid(size)
    assert count == rows * columns
    assert count <= limit or min(rows, columns) == 1
    if free.num_tokens(size) <= limit:
        assert count == free.num_tokens(size)
    if limit < 300:
        assert limited.fingerprint() != free.fingerprint()


def test_a_limited_image_has_as_many_patches_as_its_tokens_say() -> None:
    limited = QwenPreprocessor(VISION, {}).limited(20)
    picture = Image.new("RGB", (300, 171))
    done = limited.preprocess(picture)
    assert len(done.pixel_values) == 4 * limited.num_tokens(ImageSize(*picture.size)) <= 80
    assert done.layout == tuple(2 * side for side in limited.grid(ImageSize(*picture.size)))


TILED: dict[str, tuple[ImagePreprocessor, int]] = {
    "onevision": (
        OneVisionPreprocessor(
            {
                "vision_config": {"image_size": 32, "patch_size": 8},
                "vision_aspect_ratio": "anyres_max_3",
                "image_grid_pinpoints": MANY,
            },
            {"size": {"height": 32, "width": 32}},
        ),
        17,
    ),
    "idefics3": (
        Idefics3Preprocessor(
            {"vision_config": {"patch_size": 8}, "scale_factor": 2},
            {"size": {"longest_edge": 100}, "max_image_size": {"longest_edge": 32}},
        ),
        4,
    ),
    "internvl": (
        InternVLPreprocessor(
            {"vision_config": {"patch_size": [8, 8]}, "downsample_ratio": 0.5},
            {"size": {"height": 32, "width": 32}},
        ),
        4,
    ),
}


@pytest.mark.parametrize("name", TILED)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 300))
def test_a_limit_takes_fewer_tiles(name: str, width: int, height: int, limit: int) -> None:
    """one_tile: what the whole image takes, which is as few as can be."""
    free, one_tile = TILED[name]
    size = ImageSize(width, height)
    count = free.limited(limit).num_tokens(size)
    # Of a strip less than half a patch high, OneVision keeps nothing of the grid.
    assert one_tile - 1 <= count <= max(limit, one_tile)
    assert count <= max(free.num_tokens(size), one_tile)
    assert free.limited(10**6).num_tokens(size) == free.num_tokens(size)
    assert free.limited(limit).fingerprint() == free.limited(limit).fingerprint()


def test_onevision_shows_an_image_whole_among_others() -> None:
    free, one_tile = TILED["onevision"]
    assert free.num_tokens(ImageSize(100, 60)) > one_tile
    assert free.among(2).num_tokens(ImageSize(100, 60)) == one_tile
    assert free.among(2).fingerprint() != free.fingerprint()


@pytest.mark.parametrize(
    ("name", "lowest"), [("llava-onevision", 24), ("smolvlm", 24), ("internvl-qwen2", 10)]
)
def test_fewer_tiles_give_as_many_features_as_tokens(
    name: str, lowest: int, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    save, _ = VISION_MODELS[name]
    folder = save(tmp_path)
    counts = []
    for limit in (lowest, 40, 60):
        llm = LLM(folder, dtype="float32", max_image_tokens=limit)
        (output,) = llm.chat(picture_chat(pictures[1]), SamplingParams(max_tokens=1))
        counts.append(output.num_image_tokens)
        assert output.num_image_tokens <= limit
    assert counts[0] < counts[-1]
