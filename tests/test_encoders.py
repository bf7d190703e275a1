"""Towers that no model of the parity tests has, held against their own implementations."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from octavo import LLM, SamplingParams
from octavo.core.contracts import ImageSize
from octavo.core.engine.loader import build_context
from octavo.core.registry import get_registry
from octavo.plugins.encoders.open_clip.encoder import OpenClipEncoder
from octavo.plugins.encoders.open_clip.preprocessor import OpenClipPreprocessor
from octavo.plugins.encoders.siglip2.encoder import Siglip2VisionEncoder
from octavo.plugins.encoders.siglip2.preprocessor import Siglip2Preprocessor
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu, linear
from transformers import Siglip2ImageProcessor, Siglip2VisionConfig, Siglip2VisionModel
from transformers.models.siglip2.image_processing_siglip2 import get_image_size_for_max_num_patches

SIZES = [(90, 60), (60, 90), (33, 200), (64, 64), (500, 7)]
CONTEXT = build_context(get_registry(), torch.device("cpu"), torch.float32)
CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 3, "head_width": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}


def picture(size: tuple[int, int]) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise)


def siglip2() -> tuple[Siglip2VisionModel, Siglip2Preprocessor]:
    """transformers' tower with random weights, and our preprocessor for it."""
    torch.manual_seed(0)
    config = Siglip2VisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        patch_size=8,
        num_patches=16,
        attn_implementation="eager",
    )
    processor = Siglip2ImageProcessor(patch_size=8, max_num_patches=24)
    preprocessor = Siglip2Preprocessor(config.to_dict(), processor.to_dict())
    return Siglip2VisionModel(config).eval(), preprocessor


def siglip2_tower(theirs: Siglip2VisionModel, layers: tuple[int, ...]) -> Siglip2VisionEncoder:
    """Ours, with their weights."""
    ours = Siglip2VisionEncoder(theirs.config.to_dict(), layers, CONTEXT).eval()
    weights = {n.removeprefix("vision_model."): w for n, w in theirs.state_dict().items()}
    ours.load_state_dict({n: w for n, w in weights.items() if ours.map_weight(n)})
    return ours


def conversation(pictures: list[Image.Image]) -> list[dict[str, object]]:
    content = [{"type": "image", "image": p} for p in pictures] + [{"type": "text", "text": "?"}]
    return [{"role": "user", "content": content}]


def save_with_tower(
    source: Path,
    folder: Path,
    vision_config: dict[str, object],
    tower: dict[str, torch.Tensor],
    image_processor: dict[str, object] | None = None,
    **settings: object,
) -> None:
    """A LLaVA checkpoint with another tower, its weights beside the others', and settings."""
    copytree(source, folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config |= {"vision_config": vision_config, **settings}
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    kept = {n: w for n, w in weights.items() if "vision_tower" not in n}
    save_file({**kept, **tower}, folder / "model.safetensors")
    if image_processor is not None:
        processor = json.loads((folder / "processor_config.json").read_text())
        processor["image_processor"] = image_processor
        (folder / "processor_config.json").write_text(json.dumps(processor))


def test_siglip2_at_any_aspect() -> None:
    theirs, preprocessor = siglip2()
    processor = Siglip2ImageProcessor(patch_size=8, max_num_patches=24)
    for layers in ((), (-2, 1)):
        ours = siglip2_tower(theirs, layers)
        for size in SIZES:
            expected = processor(picture(size), return_tensors="pt")
            done = preprocessor.preprocess(picture(size))
            count = preprocessor.num_tokens(ImageSize(*size))
            assert done.layout == tuple(expected["spatial_shapes"][0].tolist())
            pixels = expected["pixel_values"][0, :count]
            np.testing.assert_allclose(done.pixel_values, pixels.numpy(), atol=1e-6)
            with torch.inference_mode():
                output = theirs(**expected, output_hidden_states=True)
                features = ours(torch.from_numpy(done.pixel_values)[None], [done.layout])
            states = [output.hidden_states[layer] for layer in layers]
            wanted = torch.cat(states or [output.last_hidden_state], dim=-1)[:, :count]
            torch.testing.assert_close(features, wanted, atol=1e-5, rtol=0)


def test_siglip2_grids_of_equal_area_may_be_stacked() -> None:
    """As transformers computes them, padded and masked beside a larger one."""
    theirs, preprocessor = siglip2()
    processor = Siglip2ImageProcessor(patch_size=8, max_num_patches=24)
    sizes = [(90, 60), (60, 90), (48, 32), (32, 48), (64, 64)]
    expected = processor([picture(size) for size in sizes], return_tensors="pt")
    done = [preprocessor.preprocess(picture(size)) for size in sizes[:-1]]
    layouts = [image.layout for image in done]
    assert layouts == [(4, 6), (6, 4), (4, 6), (6, 4)]
    assert expected["spatial_shapes"][-1].prod() < 24
    tower = siglip2_tower(theirs, ())
    with torch.inference_mode():
        wanted = theirs(**expected).last_hidden_state[:-1]
        pixels = torch.stack([torch.from_numpy(image.pixel_values) for image in done])
        torch.testing.assert_close(tower(pixels, layouts), wanted, atol=1e-5, rtol=0)


@given(
    width=st.integers(1, 2000),
    height=st.integers(1, 2000),
    allowed=st.integers(1, 300),
    limit=st.integers(1, 300),
)
def test_siglip2_within_a_limit(width: int, height: int, allowed: int, limit: int) -> None:
    size, config = ImageSize(width, height), {"patch_size": 4}
    whole = Siglip2Preprocessor(config, {"max_num_patches": allowed})
    limited = whole.limited(limit)
    assert limited.num_tokens(size) <= limit
    if whole.num_tokens(size) <= limit:
        assert limited.grid(size) == whole.grid(size)
    assert (limited.fingerprint() == whole.fingerprint()) == (limit >= allowed)
    theirs = get_image_size_for_max_num_patches(height, width, 4, min(allowed, limit))
    assert limited.grid(size) == (theirs[0] // 4, theirs[1] // 4)


def test_llava_sees_through_siglip2(
    checkpoints: dict[str, Path], tmp_path: Path, pictures: list[Image.Image]
) -> None:
    """Every picture at its own aspect: the tower of transformers, then LLaVA's projector."""
    theirs, preprocessor = siglip2()
    processor = Siglip2ImageProcessor(patch_size=8, max_num_patches=24)
    weights = {f"vision_tower.{n}": w for n, w in theirs.state_dict().items()}
    save_with_tower(
        checkpoints["llava-siglip"], tmp_path, theirs.config.to_dict(), weights, processor.to_dict()
    )
    llm = LLM(tmp_path, dtype="float32")
    saved = load_file(tmp_path / "model.safetensors")
    one, two = (
        [saved[f"multi_modal_projector.linear_{i}.{part}"] for part in ("weight", "bias")]
        for i in (1, 2)
    )
    features = llm.encode_images(conversation(pictures))
    for ours, image in zip(features, pictures, strict=True):
        with torch.inference_mode():
            state = theirs(**processor(image, return_tensors="pt"), output_hidden_states=True)
            count = preprocessor.num_tokens(ImageSize(*image.size))
            wanted = linear(gelu(linear(state.hidden_states[-1][0, :count], *one)), *two)
        np.testing.assert_allclose(ours, wanted, atol=1e-5)
    params = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True)
    (output,) = llm.chat(conversation(pictures), params)
    assert output.num_image_tokens == sum(len(ours) for ours in features)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"do_resize": False}, "needs do_resize"), ({"patch_size": 16}, "patch_size is 16, .* is 8")],
)
def test_settings_that_siglip2_can_not_follow(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Siglip2Preprocessor({"patch_size": 8}, settings)


@pytest.mark.parametrize("layers", [(), (-2,), (1, -1)])
def test_open_clip_tower(layers: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    theirs = open_clip.CLIP(**CLIP).visual.eval()
    ours = OpenClipEncoder({"model_cfg": CLIP}, layers, CONTEXT).eval()
    ours.load_state_dict({str(ours.map_weight(n)): w for n, w in theirs.state_dict().items()})
    preprocessor = OpenClipPreprocessor({"model_cfg": CLIP}, {})
    pixels = torch.stack(
        [torch.from_numpy(preprocessor.preprocess(picture(size)).pixel_values) for size in SIZES]
    )
    blocks: list[torch.Tensor] = []
    for block in theirs.transformer.resblocks:
        block.register_forward_hook(lambda _, __, output: blocks.append(output))
    with torch.inference_mode():
        theirs(pixels)
        features = ours(pixels)
        states = [blocks[layer - 1 if layer > 0 else layer][:, 1:] for layer in layers]
        wanted = torch.cat(states or [theirs.ln_post(blocks[-1])[:, 1:]], dim=-1)
    torch.testing.assert_close(features, wanted, atol=1e-5, rtol=0)
    assert preprocessor.num_tokens(ImageSize(5, 5)) == features.shape[1] == 16
    assert ours.hidden_size == features.shape[2]


def test_a_model_sees_through_an_open_clip_tower(
    checkpoints: dict[str, Path], tmp_path: Path, pictures: list[Image.Image]
) -> None:
    """LLaVA with the tower named in its config, its weights beside the others'."""
    copytree(checkpoints["llava-siglip"], tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"] = {"model_type": "open_clip", "model_cfg": CLIP}
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = load_file(tmp_path / "model.safetensors")
    kept = {n: w for n, w in weights.items() if "vision_tower" not in n}
    torch.manual_seed(0)
    tower = open_clip.CLIP(**CLIP).visual.eval()
    added = {f"vision_tower.visual.{n}": w for n, w in tower.state_dict().items()}
    save_file({**kept, **added}, tmp_path / "model.safetensors")
    llm = LLM(tmp_path, dtype="float32")
    content = [{"type": "image", "image": p} for p in pictures] + [{"type": "text", "text": "?"}]
    messages = [{"role": "user", "content": content}]
    (output,) = llm.chat(messages, SamplingParams(temperature=0, max_tokens=4, ignore_eos=True))
    assert output.num_image_tokens == 3 * 16
    assert len(output.outputs[0].token_ids) == 4
    features = llm.encode_images(messages)
    assert not torch.allclose(features[0], features[1])


def test_what_open_clip_can_not_be_is_named() -> None:
    with pytest.raises(ValueError, match="'ViT-X' is not a model of open_clip"):
        OpenClipPreprocessor({"model_name": "ViT-X"}, {})
    assert OpenClipPreprocessor({"model_name": "ViT-B-32"}, {}).num_tokens(ImageSize(9, 9)) == 49
    with pytest.raises(ValueError, match="timm"):
        OpenClipPreprocessor({"model_name": "ViT-B-16-SigLIP"}, {})
