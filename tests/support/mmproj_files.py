"""Tiny vision projector files, with the names, keys and changed weights that llama.cpp's converter
writes beside the language model's file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import (
    MODEL_ARCH,
    GGMLQuantizationType,
    GGUFValueType,
    GGUFWriter,
    get_tensor_name_map,
    quantize,
)
from transformers import AutoImageProcessor, AutoModelForImageTextToText
from vision_checkpoints.gemma import save_gemma3
from vision_checkpoints.qwen import save_qwen
from vision_checkpoints.tiles import save_idefics3

#: The limits of pixels in the models that were released, which files don't say.
_PIXELS = (56 * 56, 28 * 28 * 16384)
#: Folders that files can be made of: what files don't say is as it is in the models that were
#: released. By name, how to write each.
FOLDERS = {
    "idefics3": partial(save_idefics3, family="Idefics3", size={"longest_edge": 96}),
    "smolvlm": partial(save_idefics3, family="SmolVLM", size={"longest_edge": 128}),
    "qwen2-vl": partial(save_qwen, generation="qwen2-vl", pixels=_PIXELS),
    "qwen2.5-vl": partial(save_qwen, generation="qwen2.5-vl", pixels=_PIXELS, window_size=112),
    "gemma3": partial(save_gemma3, sliding_window_pattern=6, query_pre_attn_scalar=16),
}

_KINDS = {
    "idefics3": "idefics3",
    "smolvlm": "idefics3",
    "qwen2_vl": "qwen2vl_merger",
    "qwen2_5_vl": "qwen2.5vl_merger",
    "gemma3": "gemma3",
}
#: The converter's table, by the names of released weights.
_TABLE = get_tensor_name_map(MODEL_ARCH.MMPROJ, 8)
#: What released weights' names begin with, where transformers' names are others by now.
_RELEASED = (
    (r"^model\.(visual|multi_modal_projector|vision_tower)\.", r"\1."),
    (r"^vision_tower\.(?!vision_model)", "vision_tower.vision_model."),
    (r"_weight$", ".weight"),
)
_LANGUAGE = re.compile(r"^(lm_head|model\.(language_model|text_model))\.")
#: Not in files: pooling, which these models don't use.
_HEAD = ".head."
_SWAPPED = {"ffn_up": "ffn_down", "ffn_down": "ffn_up"}


def write_mmproj(
    path: Path,
    folder: Path,
    keys: dict[str, Any] | None = None,
    tensors: dict[str, Any] | None = None,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    swapped: bool = False,
) -> Path:
    """The tower and the projector of a folder's model as a file. keys, tensors: further ones, or
    others in place of the converter's, by the file's names; None leaves one out. kind: of matrices.
    swapped: feed-forward layers named the wrong way round, as older converters did."""
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    writer = GGUFWriter(path, "clip")
    for key, value in ({**_keys(model.config, folder), **(keys or {})}).items():
        if value is not None:
            writer.add_key_value(key, value, _value_type(value))
    found = dict(_tensors(model.state_dict(), swapped)) | (tensors or {})
    for name, values in found.items():
        if values is None:
            continue
        array = np.ascontiguousarray(values, np.float32)
        own = kind if array.ndim == 2 and ".blk." in name else GGMLQuantizationType.F32
        if own is GGMLQuantizationType.F32:
            writer.add_tensor(name, array)
        else:
            writer.add_tensor(name, quantize(array, own), raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _value_type(value: Any) -> GGUFValueType:
    """Whole numbers are unsigned."""
    kind = GGUFValueType.get_type(value)
    return GGUFValueType.UINT32 if kind is GGUFValueType.INT32 else kind


def _keys(config: Any, folder: Path) -> dict[str, Any]:
    vision, images = config.vision_config, AutoImageProcessor.from_pretrained(folder)
    is_qwen = config.model_type.startswith("qwen")
    keys = {
        "general.type": "mmproj",
        "general.file_type": 0,
        "clip.has_vision_encoder": True,
        "clip.projector_type": _KINDS[config.model_type],
        "clip.vision.projection_dim": config.text_config.hidden_size,
        "clip.vision.patch_size": vision.patch_size,
        "clip.vision.image_mean": list(map(float, images.image_mean)),
        "clip.vision.image_std": list(map(float, images.image_std)),
        "clip.vision.attention.layer_norm_epsilon": 1e-6,
        **(_qwen_keys(config.model_type, vision) if is_qwen else _siglip_keys(vision)),
    }
    if config.model_type in ("idefics3", "smolvlm"):
        keys["clip.vision.projector.scale_factor"] = config.scale_factor
        keys["clip.vision.preproc_image_size"] = images.size["longest_edge"]
    if config.model_type == "gemma3":
        patches = vision.image_size // vision.patch_size
        side = int(config.mm_tokens_per_image**0.5)
        keys["clip.vision.projector.scale_factor"] = patches // side
    return keys


def _siglip_keys(vision: Any) -> dict[str, Any]:
    return {
        "clip.use_gelu": True,
        "clip.vision.image_size": vision.image_size,
        "clip.vision.embedding_length": vision.hidden_size,
        "clip.vision.feed_forward_length": vision.intermediate_size,
        "clip.vision.block_count": vision.num_hidden_layers,
        "clip.vision.attention.head_count": vision.num_attention_heads,
    }


def _qwen_keys(model_type: str, vision: Any) -> dict[str, Any]:
    keys = {
        "clip.vision.image_size": 560,
        "clip.vision.block_count": vision.depth,
        "clip.vision.attention.head_count": vision.num_heads,
    }
    if model_type == "qwen2_vl":
        width = {"embedding_length": vision.embed_dim, "feed_forward_length": vision.hidden_size}
        return keys | {f"clip.vision.{key}": value for key, value in width.items()}
    return keys | {
        "clip.use_silu": True,
        "clip.vision.n_wa_pattern": vision.fullatt_block_indexes[0] + 1,
        "clip.vision.embedding_length": vision.hidden_size,
        "clip.vision.feed_forward_length": vision.intermediate_size,
    }


def _tensors(weights: dict[str, torch.Tensor], swapped: bool) -> Iterator[tuple[str, Any]]:
    for source, weight in weights.items():
        if _LANGUAGE.match(source) or _HEAD in source:
            continue
        values = weight.numpy()
        if ".patch_embed.proj." in source:
            yield "v.patch_embd.weight", values[:, :, 0]
            yield "v.patch_embd.weight.1", values[:, :, 1]
        elif ".qkv." in source:
            for part, rows in zip("qkv", np.split(values, 3), strict=True):
                yield _name(source.replace("qkv", part), swapped), rows
        else:
            shift = "soft_emb_norm" in source
            yield _name(source, swapped), values + shift


def _name(source: str, swapped: bool) -> str:
    for pattern, replacement in _RELEASED:
        source = re.sub(pattern, replacement, source)
    name = _TABLE.get_name(source, try_suffixes=(".weight", ".bias"))
    assert name is not None, source
    return re.sub("ffn_(up|down)", lambda m: _SWAPPED[m[0]], name) if swapped else name
