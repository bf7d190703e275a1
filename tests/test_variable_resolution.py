"""Images of any size: stacked with others, and under a limit of tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from octavo import LLM
from octavo.core.contracts import ImageSize
from octavo.plugins.encoders.qwen_vit.preprocessor import QwenPreprocessor
from PIL import Image
from vision_checkpoints.qwen import save_qwen

VISION = {"patch_size": 4, "temporal_patch_size": 2, "spatial_merge_size": 2}


@pytest.mark.parametrize("generation", ["qwen2-vl", "qwen2.5-vl"])
def test_grids_of_equal_area_may_be_stacked(generation: str, tmp_path: Path) -> None:
    model = LLM(save_qwen(tmp_path, generation), dtype="float32")._core._runner._model
    torch.manual_seed(0)
    pixels = torch.randn(3, 24, 3 * 2 * 4 * 4)
    layouts = [(4, 6), (6, 4), (2, 12)]
    with torch.inference_mode():
        together = model.encode_images(pixels, layouts)
        for i, layout in enumerate(layouts):
            (alone,) = model.encode_images(pixels[i, None], [layout])
            torch.testing.assert_close(together[i], alone)
        same = model.encode_images(pixels, [layouts[0]] * 3)
        torch.testing.assert_close(same[0], together[0], atol=1e-5, rtol=0)
        assert not torch.allclose(same[1], together[1])


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
