"""Pixel values equal those of the model's own Hugging Face processor."""

from __future__ import annotations

import io

import numpy as np
import pytest
from octavo.core.contracts.specs import ImageSize
from octavo.core.media.decode import decode_image
from octavo.core.protocol.media_limits import MediaLimits
from octavo.plugins.encoders.clip.preprocessor import CLIPPreprocessor
from octavo.plugins.encoders.siglip.preprocessor import SiglipPreprocessor
from PIL import Image
from transformers import CLIPImageProcessor, SiglipImageProcessor

SIZES = [(70, 40), (33, 90), (224, 224), (500, 333)]
CLIP = {"size": {"shortest_edge": 56}, "crop_size": {"height": 48, "width": 48}}
SIGLIP = {"size": {"height": 48, "width": 64}}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "CMYK"])
def test_equal_to_transformers(size: tuple[int, int], mode: str) -> None:
    generator = np.random.default_rng(1)
    array = generator.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    source = Image.fromarray(array, "RGBA")
    picture = source if mode == "RGBA" else source.convert("RGB").convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    rgb = decode_image(buffer.getvalue(), MediaLimits())
    again = Image.open(io.BytesIO(buffer.getvalue()))
    pairs = [
        (CLIPPreprocessor({"patch_size": 8}, CLIP), CLIPImageProcessor(**CLIP)),
        (SiglipPreprocessor({"patch_size": 8}, SIGLIP), SiglipImageProcessor(**SIGLIP)),
    ]
    for ours, theirs in pairs:
        pixels = ours.preprocess(rgb).pixel_values
        expected = theirs(again, return_tensors="np")["pixel_values"][0]
        np.testing.assert_allclose(pixels, expected, atol=1e-6)
        class_token = int(isinstance(ours, CLIPPreprocessor))
        patches = (pixels.shape[1] // 8) * (pixels.shape[2] // 8)
        assert ours.num_tokens(ImageSize(*size)) == patches + class_token
