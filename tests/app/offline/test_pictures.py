"""What offline callers show: equal pictures have one key, others another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from octavo import LLM, RequestError, SamplingParams
from octavo.app.offline.pictures import PictureReader
from octavo.core.prompts.image_part import ImagePart
from octavo.core.protocol.config import EngineConfig
from PIL import Image
from vision_checkpoints.qwen import save_qwen

GREEDY = SamplingParams(temperature=0, max_tokens=2)


def key_of(picture: Image.Image, background: tuple[int, int, int] = (255, 255, 255)) -> str:
    config = EngineConfig(model="any", image_background=background)
    (image,) = PictureReader(config, None).read([ImagePart("x", picture=picture)], None)  # type: ignore[arg-type]
    return image.content_key


def test_a_key_says_what_is_seen() -> None:
    indices = np.arange(16, dtype=np.uint8).reshape(4, 4)
    palettes = [[colour, 0, 0] * 256 for colour in (10, 200)]
    pictures = []
    for palette in palettes:
        picture = Image.fromarray(indices).convert("P")
        picture.putpalette(palette)
        pictures.append(picture)
    assert key_of(pictures[0]) != key_of(pictures[1])
    assert key_of(pictures[0]) == key_of(pictures[0].convert("RGB"))
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert key_of(clear) != key_of(clear, (0, 0, 0))
    turned = Image.fromarray(np.arange(32, dtype=np.uint8).reshape(4, 8))
    plain = key_of(turned)
    turned.getexif()[0x0112] = 6
    assert key_of(turned) != plain


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    folder = save_qwen(tmp_path_factory.mktemp("qwen"), "qwen2-vl")
    return LLM(folder, dtype="float32", max_model_len=512)


def chat(llm: LLM, *parts: dict[str, object]) -> list[int]:
    content = [*parts, {"type": "text", "text": "What?"}]
    return llm.chat([{"role": "user", "content": content}], GREEDY)[0].outputs[0].token_ids


def test_features_are_held_against_the_size_of_their_image(qwen: LLM) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    shown = {"type": "image", "image": picture}
    question = {"type": "text", "text": "What?"}
    (features,) = qwen.encode_images([{"role": "user", "content": [shown, question]}])
    part = {"type": "image_embeds", "image_embeds": features}
    with pytest.raises(RequestError, match="image_size"):
        chat(qwen, part)
    assert chat(qwen, {**part, "image_size": [64, 48]}) == chat(qwen, shown)
    # Twice, with sizes whose mean would fit.
    larger, smaller = ({**part, "image_size": size} for size in ([64, 80], [64, 16]))
    with pytest.raises(RequestError, match="the features have shape"):
        chat(qwen, larger, smaller)


def test_the_same_features_for_an_upright_and_a_lying_image_are_two(qwen: LLM) -> None:
    """Their positions differ, so that neither may take the other's blocks."""
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 96, 3), np.uint8))
    content = [{"type": "image", "image": picture}, {"type": "text", "text": "What?"}]
    (features,) = qwen.encode_images([{"role": "user", "content": content}])
    cached = []
    for size in ([96, 48], [48, 96], [96, 48]):
        part = {"type": "image_embeds", "image_embeds": features, "image_size": size}
        question = [part, {"type": "text", "text": "What is this picture of, please?"}]
        (output,) = qwen.chat([{"role": "user", "content": question}], GREEDY)
        cached.append(output.num_cached_tokens)
    assert cached[1] < cached[2]


def test_two_images_that_do_not_fit_together_take_turns_and_end(
    checkpoints: dict[str, Path], pictures: list[Image.Image]
) -> None:
    llm = LLM(
        checkpoints["llava-siglip"],
        dtype="float32",
        max_model_len=256,
        enable_prefix_caching=False,
        encoder_cache_memory=16 * 64 * 4,
    )
    shown = [{"type": "image", "image": pictures[i]} for i in (0, 1, 0)]
    assert chat(llm, *shown)
    assert llm.stats().encoder_runs == 3
