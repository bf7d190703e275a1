"""Embeddings equal those of the libraries that the models come from, however they are batched."""

from __future__ import annotations

import os
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from embedding_checkpoints import TEXT, TEXTS, save_processor
from octavo import EmbeddingModel
from octavo.core.embedding.open_clip_embedder import OpenClipEmbedder
from octavo.core.protocol.config import ConfigError
from octavo.core.protocol.request_error import RequestError
from PIL import Image
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    Siglip2Processor,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
)
from vision_checkpoints.llava import VISION


def letters_tokenizer() -> Siglip2Tokenizer:
    """One of SigLIP 2's kind, which is not the demo model's, with a token for each letter."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *string.ascii_lowercase]
    vocab = {token: i for i, token in enumerate(tokens)}
    return Siglip2Tokenizer(vocab=vocab, padding_side="right")


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
    texts = [f"text {i}" for i in range(40)]
    check(ours.embed_texts(texts), model.encode_text(open_clip.get_tokenizer(name)(texts)))
    for embed, items in ((ours.embed_images, images), (ours.embed_texts, TEXTS)):
        alone = np.concatenate([embed([item]) for item in items])
        np.testing.assert_allclose(embed(items), alone, atol=1e-5)
    halves = EmbeddingModel(f"open_clip:{name}:{vit}", dtype="bfloat16").embed_images(images[:2])
    assert halves.dtype == np.float32
    np.testing.assert_allclose(halves, ours.embed_images(images[:2]), atol=0.05)
    assert ours.embed_images([]).shape == (0, ours.dimension)
    with pytest.raises(RequestError, match=r"images\[1\]: nowhere\.png can't be read"):
        ours.embed_images([pictures[0], "nowhere.png"])


def test_open_clip_keeps_no_word_for_ever(vit: Path) -> None:
    ours = OpenClipEmbedder(f"open_clip:ViT-S-32-alt:{vit}", torch.device("cpu"), torch.float32)
    tokenizer = open_clip.get_tokenizer("ViT-S-32-alt")
    expected = tokenizer(["a <end_of_text> b1 c2"])
    for start in range(0, 20_000, 1_000):
        ours.embed_texts([" ".join(f"w{i}w" for i in range(start, start + 1_000))])
    assert len(ours._tokenize.cache) < 10_000
    assert torch.equal(ours._tokenize(["a <end_of_text> b1 c2"]), expected)
    assert ours.max_text_bytes >= 77 * max(len(word.encode()) for word in tokenizer.encoder)


def test_siglip(tmp_path: Path, pictures: list[Image.Image]) -> None:
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION)).eval()
    model.save_pretrained(tmp_path)
    images = SiglipImageProcessor(size={"height": 32, "width": 32})
    tokenizer = save_processor(images, SiglipProcessor, tmp_path)
    ours = EmbeddingModel(tmp_path)
    pixels = images(pictures, return_tensors="pt")["pixel_values"]
    check(ours.embed_images(pictures), model.get_image_features(pixels).pooler_output)
    ids = tokenizer(TEXTS, padding="max_length", max_length=12, return_tensors="pt")["input_ids"]
    check(ours.embed_texts(TEXTS), model.get_text_features(ids).pooler_output)
    assert ours.embed_texts(["long " * 100]).shape == (1, 32)


def test_clip(tmp_path: Path, pictures: list[Image.Image]) -> None:
    """Texts of different lengths side by side are as each is alone."""
    torch.manual_seed(0)
    config = CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=24)
    model = CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    images = CLIPImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32})
    tokenizer = save_processor(images, CLIPProcessor, tmp_path)
    ours = EmbeddingModel(tmp_path)
    pixels = images(pictures, return_tensors="pt")["pixel_values"]
    check(ours.embed_images(pictures), model.get_image_features(pixels).pooler_output)
    alone = [
        model.get_text_features(**tokenizer(text, return_tensors="pt")).pooler_output
        for text in TEXTS[:2]
    ]
    check(ours.embed_texts(TEXTS[:2]), torch.cat(alone))
    assert ours.dimension == 24


def test_siglip2(tmp_path: Path, pictures: list[Image.Image]) -> None:
    """Every picture at its own aspect."""
    torch.manual_seed(0)
    vision = {**VISION, "num_patches": 16}
    del vision["image_size"]
    model = Siglip2Model(Siglip2Config(text_config=TEXT, vision_config=vision)).eval()
    model.save_pretrained(tmp_path)
    images = Siglip2ImageProcessor(patch_size=8, max_num_patches=24)
    tokenizer = letters_tokenizer()
    Siglip2Processor(images, tokenizer).save_pretrained(tmp_path)
    ours = EmbeddingModel(tmp_path)
    wanted = [model.get_image_features(**images(p, return_tensors="pt")) for p in pictures]
    check(ours.embed_images(pictures), torch.cat([output.pooler_output for output in wanted]))
    halves = EmbeddingModel(tmp_path, dtype="bfloat16").embed_images(pictures)
    np.testing.assert_allclose(halves, ours.embed_images(pictures), atol=0.05)
    ids = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=12)["input_ids"]
    check(ours.embed_texts(TEXTS), model.get_text_features(torch.tensor(ids)).pooler_output)
    np.testing.assert_array_equal(ours.embed_texts(["A Dog"]), ours.embed_texts(["a dog"]))
    assert not np.allclose(*ours.embed_texts(["a dog", "a cat"]))


def test_what_can_not_be_loaded_is_named(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"no model 'ViT-X'; open_clip\.list_models\(\)"):
        EmbeddingModel("open_clip:ViT-X:openai")
    with pytest.raises(ConfigError, match=r"'x' is neither a file nor a tag.*laion2b_s34b_b79k"):
        EmbeddingModel("open_clip:ViT-B-32:x")
    with pytest.raises(ConfigError, match="a llama model gives no embeddings"):
        EmbeddingModel(checkpoints["llama"])
    for tag in ("nope", "/nowhere/weights.pt"):
        with pytest.raises(ConfigError, match=f"{tag!r} is neither a file nor a tag"):
            EmbeddingModel(f"open_clip:ViT-B-32:{tag}")
    with pytest.raises(ConfigError, match=r"dtype must be one of .*, got 'float8'"):
        EmbeddingModel(checkpoints["llama"], dtype="float8")
    with pytest.raises(ConfigError, match=r"device must be auto, cpu, .*'abacus'"):
        EmbeddingModel(checkpoints["llama"], device="abacus")


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_a_file_that_holds_no_weights(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="doesn't hold this model's weights"):
        EmbeddingModel(f"open_clip:ViT-S-32-alt:{path}")


@pytest.mark.parametrize("weights", [{}, {"a": torch.ones(1)}])
def test_a_file_of_other_weights(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save(weights, tmp_path / "weights.pt")
    with pytest.raises(ConfigError, match="doesn't hold this model's weights"):
        EmbeddingModel(f"open_clip:ViT-S-32-alt:{tmp_path / 'weights.pt'}")


def test_weights_of_another_model(vit: Path) -> None:
    with pytest.raises(ConfigError, match="doesn't hold this model's weights"):
        EmbeddingModel(f"open_clip:ViT-B-32:{vit}")


def test_without_a_network(vit: Path) -> None:
    """Weights, and only a tokenizer, that the hub has. In another process, since libraries read
    these settings once."""
    names = [
        "open_clip:ViT-B-32:laion2b_s34b_b79k",
        "open_clip:ViT-B-32",
        f"open_clip:ViT-B-16-SigLIP:{vit}",
    ]
    code = f"""
from octavo import EmbeddingModel
from octavo.core.protocol.config import ConfigError
for name in {names!r}:
    try:
        EmbeddingModel(name)
    except ConfigError as error:
        print(error)
"""
    empty = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(vit.parent / "empty")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **empty},
        capture_output=True,
        text=True,
        check=True,
    )
    weights, first, tokenizer = done.stdout.splitlines()
    assert "ViT-B-32:laion2b_s34b_b79k: the weights can't be downloaded" in weights
    assert "give the path of a file that holds them as open_clip:ViT-B-32:PATH" in weights
    tag = open_clip.list_pretrained_tags_by_model("ViT-B-32")[0]
    assert f"ViT-B-32:{tag}: the weights can't be downloaded" in first
    assert "ViT-B-16-SigLIP: its tokenizer is on the Hugging Face hub" in tokenizer


def test_what_can_not_be_embedded_is_named(vit: Path, pictures: list[Image.Image]) -> None:
    model = EmbeddingModel(f"open_clip:ViT-S-32-alt:{vit}")
    with pytest.raises(RequestError, match="texts must be a list, not <class 'str'>"):
        model.embed_texts("a dog")
    with pytest.raises(RequestError, match=r"texts\[1\] must be a text, not <class 'int'>"):
        model.embed_texts(["a dog", 3])
    with pytest.raises(RequestError, match="images must be a list, not <class 'str'>"):
        model.embed_images("picture.png")
    with pytest.raises(RequestError, match="images must be a list"):
        model.embed_images(pictures[0])
