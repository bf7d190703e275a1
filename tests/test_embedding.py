"""Embeddings equal those of the libraries that the models come from, however they are batched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from octavo import EmbeddingModel
from octavo.core.engine.config import ConfigError
from octavo.core.engine.request_error import RequestError
from PIL import Image
from transformers import (
    AutoTokenizer,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
)
from vision_checkpoints.llava import VISION

TEXTS = ["a dog", "two cats on a roof", ""]


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of open_clip's smallest ViT, as a file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("open_clip") / "weights.pt"
    torch.save(open_clip.create_model("ViT-S-32-alt").state_dict(), path)
    return path


def check(ours: np.ndarray, theirs: torch.Tensor) -> None:
    expected = torch.nn.functional.normalize(theirs, dim=-1).detach().numpy()
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


def test_open_clip(vit: Path, pictures: list[Image.Image]) -> None:
    name = "ViT-S-32-alt"
    model, _, transform = open_clip.create_model_and_transforms(name, pretrained=str(vit))
    model.eval()
    ours = EmbeddingModel(f"open_clip:{name}:{vit}")
    images = [*pictures, pictures[0].convert("L"), pictures[1].convert("RGBA")]
    pixels = torch.stack([transform(picture.convert("RGB")) for picture in images])
    check(ours.embed_images(images), model.encode_image(pixels))
    check(ours.embed_texts(TEXTS), model.encode_text(open_clip.get_tokenizer(name)(TEXTS)))
    many = ours.embed_texts([f"text {i}" for i in range(40)])
    np.testing.assert_allclose(many[35], ours.embed_texts(["text 35"])[0], atol=1e-5)
    assert ours.embed_images([]).shape == (0, ours.dimension)
    with pytest.raises(RequestError, match=r"images\[1\]: nowhere\.png can't be read"):
        ours.embed_images([pictures[0], "nowhere.png"])


def test_siglip(checkpoints: dict[str, Path], tmp_path: Path, pictures: list[Image.Image]) -> None:
    torch.manual_seed(0)
    text = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 2100}
    text |= {"intermediate_size": 64, "max_position_embeddings": 12}
    text |= {"bos_token_id": 1, "eos_token_id": 2}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).eval()
    model.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(checkpoints["llama"])
    images = SiglipImageProcessor(size={"height": 32, "width": 32})
    SiglipProcessor(images, tokenizer).save_pretrained(tmp_path)
    ours = EmbeddingModel(tmp_path)
    pixels = images(pictures, return_tensors="pt")["pixel_values"]
    check(ours.embed_images(pictures), model.get_image_features(pixels).pooler_output)
    ids = tokenizer(TEXTS, padding="max_length", max_length=12, return_tensors="pt")["input_ids"]
    check(ours.embed_texts(TEXTS), model.get_text_features(ids).pooler_output)
    assert ours.embed_texts(["long " * 100]).shape == (1, 32)


def test_what_can_not_be_loaded_is_named(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"no model 'ViT-X'; open_clip\.list_models\(\)"):
        EmbeddingModel("open_clip:ViT-X:openai")
    with pytest.raises(ConfigError, match=r"'x' is neither a file nor a tag.*laion2b_s34b_b79k"):
        EmbeddingModel("open_clip:ViT-B-32:x")
    with pytest.raises(ConfigError, match="a llama model gives no embeddings"):
        EmbeddingModel(checkpoints["llama"])
