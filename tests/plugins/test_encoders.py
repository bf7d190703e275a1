"""Towers that no model of the parity tests has, held against their own implementations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from octavo import LLM, SamplingParams
from octavo.core.contracts.interfaces import BuildContext
from octavo.core.contracts.specs import ImageSize
from octavo.core.models.loader import build_context, choose_kernels
from octavo.core.registry.registry import get_registry
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


def context_of(dtype: torch.dtype) -> BuildContext:
    place = (get_registry(), torch.device("cpu"), dtype)
    return build_context(*place, choose_kernels(*place))


CONTEXT = context_of(torch.float32)
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


def projected(folder: Path, features: torch.Tensor) -> torch.Tensor:
    """What a LLaVA checkpoint's projector makes of features."""
    weights = load_file(folder / "model.safetensors")
    one, two = (
        [weights[f"multi_modal_projector.linear_{i}.{part}"] for part in ("weight", "bias")]
        for i in (1, 2)
    )
    return linear(gelu(linear(features, *one)), *two)


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
                (features,) = ours([torch.from_numpy(done.pixel_values)], [done.layout])
            states = [output.hidden_states[layer] for layer in layers]
            wanted = torch.cat(states or [output.last_hidden_state], dim=-1)[0, :count]
            torch.testing.assert_close(features, wanted, atol=1e-5, rtol=0)


def test_siglip2_computes_grids_of_any_shape_together() -> None:
    """As transformers does, padded and masked."""
    theirs, preprocessor = siglip2()
    processor = Siglip2ImageProcessor(patch_size=8, max_num_patches=24)
    sizes = [(90, 60), (60, 90), (48, 32), (33, 200), (64, 64)]
    expected = processor([picture(size) for size in sizes], return_tensors="pt")
    done = [preprocessor.preprocess(picture(size)) for size in sizes]
    layouts = [image.layout for image in done]
    assert layouts[:3] == [(4, 6), (6, 4), (4, 6)]
    assert expected["spatial_shapes"][-1].prod() < 24
    assert len({rows * columns for rows, columns in layouts}) > 1
    tower = siglip2_tower(theirs, ())
    with torch.inference_mode():
        wanted = theirs(**expected).last_hidden_state
        features = tower([torch.from_numpy(image.pixel_values) for image in done], layouts)
    for ours, padded, (rows, columns) in zip(features, wanted, layouts, strict=True):
        torch.testing.assert_close(ours, padded[: rows * columns], atol=1e-5, rtol=0)


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
    features = llm.encode_images(conversation(pictures))
    for ours, image in zip(features, pictures, strict=True):
        with torch.inference_mode():
            state = theirs(**processor(image, return_tensors="pt"), output_hidden_states=True)
            count = preprocessor.num_tokens(ImageSize(*image.size))
            wanted = projected(tmp_path, state.hidden_states[-1][0, :count])
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


def timm_model(name: str, size: int, **vision: object) -> dict[str, object]:
    return {
        **CLIP,
        "vision_cfg": {"timm_model_name": name, "timm_pool": "", "image_size": size, **vision},
    }


#: Class token; none; rotary positions, which the checkpoint lacks; narrowing grids.
TIMM = {
    "vit": timm_model("test_vit", 160),
    "no class token": timm_model("test_vit3", 160, timm_pool="map"),
    "rotary": timm_model("vit_pe_core_tiny_patch16_384", 384),
    "convnext": timm_model("test_convnext", 160, timm_pool="avg"),
}
RESNET = {
    **CLIP,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
}
COCA = {**CLIP, "vision_cfg": {**CLIP["vision_cfg"], "attentional_pool": True}}


def open_clip_tower(
    config: dict[str, object], layers: tuple[int, ...], theirs: torch.nn.Module
) -> OpenClipEncoder:
    """Ours as the loader builds it: without storage, then filled."""
    with torch.device("meta"):
        ours = OpenClipEncoder({"model_cfg": config}, layers, CONTEXT)
    weights = {str(ours.map_weight(n)): w for n, w in theirs.state_dict().items()}
    ours.load_state_dict(weights, assign=True)
    return ours.eval()


def outputs_of(blocks: torch.nn.ModuleList) -> list[torch.Tensor]:
    """What each block gives, once the tower has run."""
    outputs: list[torch.Tensor] = []
    for block in blocks:
        block.register_forward_hook(lambda _, __, output: outputs.append(output))
    return outputs


@pytest.mark.parametrize("layers", [(), (-2,), (1, -1), (-1, 1), (2, 2)])
@pytest.mark.parametrize("config", [CLIP, COCA], ids=["clip", "coca"])
def test_open_clip_tower(config: dict[str, object], layers: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    theirs = open_clip.CLIP(**config).visual.eval()
    ours = open_clip_tower(config, layers, theirs)
    preprocessor = OpenClipPreprocessor({"model_cfg": config}, {})
    pixels = torch.stack(
        [torch.from_numpy(preprocessor.preprocess(picture(size)).pixel_values) for size in SIZES]
    )
    blocks = outputs_of(theirs.transformer.resblocks)
    with torch.inference_mode():
        theirs(pixels)
        features = torch.stack(ours(pixels))
        states = [blocks[layer - 1 if layer > 0 else layer] for layer in layers]
        final = blocks[-1] if config is COCA else theirs.ln_post(blocks[-1])
        torch.testing.assert_close(features, torch.cat(states or [final], dim=-1))
    assert preprocessor.num_tokens(ImageSize(5, 5)) == features.shape[1] == 1 + 16
    assert ours.hidden_size == features.shape[2]


@pytest.mark.parametrize("layers", [(), (-1,)])
def test_open_clip_residual_network(layers: tuple[int, ...]) -> None:
    """Its last feature map, row by row."""
    torch.manual_seed(0)
    theirs = open_clip.CLIP(**RESNET).visual.eval()
    ours = open_clip_tower(RESNET, layers, theirs)
    (pixels, maps) = torch.randn(2, 3, 64, 64), outputs_of(theirs.layer4)
    with torch.inference_mode():
        theirs(pixels)
        features = torch.stack(ours(pixels))
    torch.testing.assert_close(features, maps[-1].permute(0, 2, 3, 1).flatten(1, 2))
    preprocessor = OpenClipPreprocessor({"model_cfg": RESNET}, {})
    assert (preprocessor.num_tokens(ImageSize(5, 5)), ours.hidden_size) == features.shape[1:]


@pytest.mark.parametrize("kind", TIMM)
def test_towers_of_timm(kind: str) -> None:
    torch.manual_seed(0)
    config = TIMM[kind]
    theirs = open_clip.CustomTextCLIP(**config).visual.eval()
    trunk, size = theirs.trunk, config["vision_cfg"]["image_size"]
    pixels = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        final = trunk.forward_features(pixels)
        if kind == "convnext":
            final = final.permute(0, 2, 3, 1).flatten(1, 2)
        features = torch.stack(open_clip_tower(config, (), theirs)(pixels))
        torch.testing.assert_close(features, final)
        if kind != "convnext":
            states = outputs_of(trunk.blocks)
            trunk.forward_features(pixels)
            features = torch.stack(open_clip_tower(config, (-1, 1), theirs)(pixels))
            torch.testing.assert_close(features, torch.cat((states[-1], states[0]), dim=-1))
    preprocessor = OpenClipPreprocessor({"model_cfg": config}, {})
    assert preprocessor.num_tokens(ImageSize(5, 5)) == features.shape[1]


def test_a_tower_with_tables_in_half_precision() -> None:
    """What is computed rather than loaded has the right numbers in the right format."""
    torch.manual_seed(0)
    config = TIMM["rotary"]
    theirs = open_clip.CustomTextCLIP(**config).visual.eval().bfloat16()
    context = context_of(torch.bfloat16)
    with torch.device("meta"):
        ours = OpenClipEncoder({"model_cfg": config}, (), context)
    weights = {f"visual.{n}": w for n, w in theirs.state_dict().items()}
    ours.load_state_dict(weights, assign=True)
    pixels = torch.randn(1, 3, 384, 384).bfloat16()
    with torch.inference_mode():
        features = torch.stack(ours.eval()(pixels))
        torch.testing.assert_close(features, theirs.trunk.forward_features(pixels))


@pytest.mark.parametrize("strategy", ["default", "full"])
def test_llava_sees_through_an_open_clip_tower(
    checkpoints: dict[str, Path], tmp_path: Path, pictures: list[Image.Image], strategy: str
) -> None:
    """The tower named in the config: its class token is dropped where LLaVA drops CLIP's."""
    torch.manual_seed(0)
    tower = open_clip.CLIP(**CLIP).visual.eval()
    save_with_tower(
        checkpoints["llava-siglip"],
        tmp_path,
        {"model_type": "open_clip", "model_cfg": CLIP},
        {f"vision_tower.visual.{n}": w for n, w in tower.state_dict().items()},
        {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]},
        vision_feature_layer=-2,
        vision_feature_select_strategy=strategy,
    )
    llm = LLM(tmp_path, dtype="float32")
    transform = open_clip.image_transform(
        32, is_train=False, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)
    )
    blocks = outputs_of(tower.transformer.resblocks)
    with torch.inference_mode():
        tower(torch.stack([transform(image) for image in pictures]))
        wanted = projected(tmp_path, blocks[-2][:, 1 if strategy == "default" else 0 :])
    features = llm.encode_images(conversation(pictures))
    np.testing.assert_allclose(np.stack(features), wanted, atol=1e-5)
    params = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True)
    (output,) = llm.chat(conversation(pictures), params)
    assert output.num_image_tokens == 3 * (16 if strategy == "default" else 17)
    assert len(output.outputs[0].token_ids) == 4


@pytest.mark.parametrize(
    ("name", "transform"),
    [
        ("ViT-B-32", open_clip.image_transform(224, is_train=False)),
        (
            "ViT-B-16-SigLIP",
            open_clip.image_transform(
                224, is_train=False, mean=(0.5,) * 3, std=(0.5,) * 3, resize_mode="squash"
            ),
        ),
        ("ViT-H-14", open_clip.image_transform(224, is_train=False)),
    ],
)
def test_open_clip_preprocessing(name: str, transform: Callable[..., torch.Tensor]) -> None:
    """As the model's published weights want it; where they differ, as open_clip does unasked."""
    preprocessor = OpenClipPreprocessor({"model_name": name}, {})
    for size in SIZES:
        ours = preprocessor.preprocess(picture(size)).pixel_values
        np.testing.assert_array_equal(ours, transform(picture(size)).numpy())


def test_open_clip_fingerprint() -> None:
    """It follows what changes pixel values, and nothing else."""

    def fingerprint(model: dict[str, object], **settings: object) -> str:
        return OpenClipPreprocessor({"model_cfg": model}, settings).fingerprint()

    larger = {**CLIP, "vision_cfg": {**CLIP["vision_cfg"], "image_size": 64}}
    deeper = {**CLIP, "vision_cfg": {**CLIP["vision_cfg"], "layers": 5}}
    mean = [0.1, 0.2, 0.3]
    prints = [fingerprint(CLIP), fingerprint(larger), fingerprint(CLIP, image_mean=mean)]
    prints.append(fingerprint(CLIP, preprocess_cfg={"resize_mode": "squash"}))
    assert len(set(prints)) == 4
    assert fingerprint(deeper) == fingerprint(CLIP)
    assert fingerprint(CLIP, preprocess_cfg={"mean": mean}) == prints[2]
    assert fingerprint(CLIP, preprocess_cfg={"size": 512}) == prints[0]


@pytest.mark.parametrize(
    ("vision_config", "message"),
    [
        ({"model_name": "ViT-X"}, r"'ViT-X' is not a model of open_clip; open_clip.list_models"),
        ({}, r"vision_config.model_name None is not a model"),
        ({"model_cfg": {"embed_dim": 16}}, "model_cfg has no vision_cfg"),
        ({"model_cfg": {"vision_cfg": CLIP["vision_cfg"]}}, "model_cfg has no embed_dim"),
        ({"model_cfg": {**CLIP, "vision_cfg": {"depth": 3}}}, "vision_cfg is not valid: .*depth"),
    ],
)
def test_what_open_clip_does_not_know_is_named(
    vision_config: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        OpenClipPreprocessor(vision_config, {})
    with pytest.raises(ValueError, match=message):
        OpenClipEncoder(vision_config, (), CONTEXT)


@pytest.mark.parametrize("layers", [(0,), (4,), (-4,), (-1, 9)])
def test_layers_that_a_tower_does_not_have(layers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="this tower gives layers 1 to 3, or -3 to -1"):
        OpenClipEncoder({"model_cfg": CLIP}, layers, CONTEXT)
    with pytest.raises(ValueError, match="only -1, its last, is served"):
        OpenClipEncoder({"model_cfg": RESNET}, layers, CONTEXT)


def test_a_tower_whose_tables_need_its_weights() -> None:
    config = {"model_name": "swin_base_patch4_window7_224"}
    with torch.device("meta"), pytest.raises(ValueError, match="attn_mask is not in checkpoints"):
        OpenClipEncoder(config, (), CONTEXT)


def test_preprocessing_that_open_clip_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"preprocess_cfg .*shape.* is not valid"):
        OpenClipPreprocessor({"model_cfg": CLIP}, {"preprocess_cfg": {"shape": 3}})
