"""Qwen2-VL and Qwen2.5-VL: pictures of any size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ....contracts.specs import JsonDict
from ....protocol.config import ConfigError
from ..gguf_kinds import brief
from ..gguf_metadata import GgufMetadata
from .mmproj_file import MmprojFile
from .projector import Projector, Values, Weight, colours, feed_forward, layer, num_heads

_TOWER, _OUTPUT = "model.visual.", "mm.2.weight"
_IMAGE = "<|image_pad|>"
_TOKENS = {
    "image_token_id": _IMAGE,
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
#: Of pixels in a picture, as in all models that were released; files don't say.
_FEWEST, _MOST = 56 * 56, 28 * 28 * 16384
_MIN_KEY, _MAX_KEY = "vision.image_min_pixels", "vision.image_max_pixels"
#: Of a window's side in pixels, likewise.
_WINDOW = 112
#: transformers' own, whatever a config says.
_EPS = 1e-6
_EPS_KEY = "vision.attention.layer_norm_epsilon"
_SECTIONS = "rope.dimension_sections"
_FRAMES = ("v.patch_embd.weight", "v.patch_embd.weight.1")
#: The side of the largest square that llama.cpp makes room for; the model has none.
_ROOM = "vision.image_size"
#: Of Qwen2-VL, in which converters write the language model's width; the tensors tell.
_INNER = "vision.feed_forward_length"


@dataclass(frozen=True)
class _Sizes:
    """width: of the tower's vectors; inner: of those within feed-forward layers; output: of those
    that the language model gets. merge: patches a side that become one of these."""

    width: int
    inner: int
    output: int
    patch: int
    merge: int

    @classmethod
    def read(cls, file: MmprojFile, inner: int) -> _Sizes:
        return cls(
            width=file.size("vision.embedding_length"),
            inner=inner,
            output=file.matrix(_OUTPUT)[0],
            patch=file.size("vision.patch_size"),
            merge=file.size("vision.spatial_merge_size", 2),
        )


def read_2(file: MmprojFile, text: GgufMetadata, text_config: JsonDict) -> Projector:
    """Of Qwen2-VL; see `KINDS`."""
    for key in ("use_gelu", "use_silu"):
        file.expect(key, False, file.flag(key))
    file.pass_over(_INNER)
    width = file.size("vision.embedding_length")
    up, _ = feed_forward(file, 0, width)
    sizes = _Sizes.read(file, file.matrix(f"{up}.weight")[0])
    if sizes.inner % width:
        raise file.error(f"{up}.weight has {sizes.inner} rows, no multiple of the width {width}")
    vision = {
        "model_type": "qwen2_vl_vision",
        "embed_dim": width,
        "hidden_size": sizes.output,
        "mlp_ratio": sizes.inner // width,
        "hidden_act": "quick_gelu",
    }
    weights = list(_weights(file, sizes, ("mlp.fc1", "mlp.fc2"), has_norm_bias=True))
    config = _config(file, text, sizes, vision, "qwen2_vl", "Qwen2VL")
    return _projector(file, text, text_config, sizes, config, weights)


def read_2_5(file: MmprojFile, text: GgufMetadata, text_config: JsonDict) -> Projector:
    """Of Qwen2.5-VL; see `KINDS`."""
    file.expect("use_gelu", False, file.flag("use_gelu"))
    file.expect("use_silu", True, file.flag("use_silu"))
    sizes = _Sizes.read(file, file.size(_INNER))
    period = file.size("vision.n_wa_pattern")
    vision = {
        "model_type": "qwen2_5_vl_vision",
        "hidden_size": sizes.width,
        "out_hidden_size": sizes.output,
        "intermediate_size": sizes.inner,
        "hidden_act": "silu",
        "window_size": file.size("vision.window_size", _WINDOW),
        "fullatt_block_indexes": list(range(period - 1, file.num_blocks, period)),
    }
    weights = list(_weights(file, sizes, ("mlp.up_proj", "mlp.down_proj"), has_norm_bias=False))
    for block in range(file.num_blocks):
        gate = f"{_TOWER}blocks.{block}.mlp.gate_proj"
        weights += layer(gate, f"v.blk.{block}.ffn_gate", sizes.inner, sizes.width)
    config = _config(file, text, sizes, vision, "qwen2_5_vl", "Qwen2_5_VL")
    return _projector(file, text, text_config, sizes, config, weights)


def _config(
    file: MmprojFile,
    text: GgufMetadata,
    sizes: _Sizes,
    vision: JsonDict,
    model_type: str,
    family: str,
) -> JsonDict:
    """vision: what only this generation has, or names so."""
    file.expect(_EPS_KEY, _EPS, file.number(_EPS_KEY))
    file.pass_over(_ROOM)
    return {
        "model_type": model_type,
        "architectures": [f"{family}ForConditionalGeneration"],
        "vision_config": {
            **vision,
            "patch_size": sizes.patch,
            "spatial_merge_size": sizes.merge,
            "temporal_patch_size": len(_FRAMES),
            "num_heads": num_heads(file, sizes.width),
            "depth": file.num_blocks,
        },
        **{name: text.token_id(token) for name, token in _TOKENS.items()},
    }


def _projector(
    file: MmprojFile,
    text: GgufMetadata,
    text_config: JsonDict,
    sizes: _Sizes,
    config: JsonDict,
    weights: Sequence[Weight],
) -> Projector:
    positions = {**text_config["rope_parameters"], "mrope_section": _sections(text, text_config)}
    return Projector(
        config=config,
        image_processor={
            **colours(file),
            "size": _pixels(file),
            "patch_size": sizes.patch,
            "merge_size": sizes.merge,
            "temporal_patch_size": len(_FRAMES),
        },
        weights=weights,
        prefix="model.language_model.",
        placeholder=_IMAGE,
        output=_OUTPUT,
        width=sizes.output,
        text_config={
            "model_type": f"{config['model_type']}_text",
            "rope_parameters": positions,
        },
    )


def _pixels(file: MmprojFile) -> JsonDict:
    """The fewest and the most of a picture; "edges" in transformers' words."""
    fewest, most = file.size(_MIN_KEY, _FEWEST), file.size(_MAX_KEY, _MOST)
    if fewest > most:
        raise file.error(f"clip.{_MIN_KEY} = {fewest} is above clip.{_MAX_KEY} = {most}")
    return {"shortest_edge": fewest, "longest_edge": most}


def _sections(text: GgufMetadata, text_config: JsonDict) -> list[int]:
    """The parts of half a head that turn by time, height and width; a fourth in the file is 0."""
    given = text.fields.get(_SECTIONS)
    key = f"{text.architecture}.{_SECTIONS}"
    if given is None:
        raise ConfigError(f"the GGUF file has no {key}, by which pictures are placed")
    half = text_config["hidden_size"] // text_config["num_attention_heads"] // 2
    parts: list[int] = given[:3]
    if len(parts) < 3 or any(given[3:]) or sum(parts) != half:
        raise ConfigError(
            f"the GGUF file's {key} = {brief(given)} is not supported: it must be three numbers "
            f"that are {half} together, half of a head's width"
        )
    return parts


def _weights(
    file: MmprojFile, sizes: _Sizes, mlp: tuple[str, str], has_norm_bias: bool
) -> Iterator[Weight]:
    """All but gates. mlp: transformers' names of the feed-forward layers."""
    width, merged = sizes.width, sizes.width * sizes.merge**2
    patch = (width, 3, sizes.patch, sizes.patch)
    yield Weight(f"{_TOWER}patch_embed.proj.weight", _FRAMES, patch, _as_film)
    yield from _norm(f"{_TOWER}merger.ln_q", "v.post_ln", width, has_norm_bias)
    yield from layer(f"{_TOWER}merger.mlp.0", "mm.0", merged, merged)
    yield from layer(f"{_TOWER}merger.mlp.2", "mm.2", sizes.output, merged)
    for block in range(file.num_blocks):
        source, target = f"v.blk.{block}", f"{_TOWER}blocks.{block}"
        for number in ("1", "2"):
            name = f"{target}.norm{number}"
            yield from _norm(name, f"{source}.ln{number}", width, has_norm_bias)
        yield from _attention(file, source, target, width)
        up, down = feed_forward(file, block, width)
        yield from layer(f"{target}.{mlp[0]}", up, sizes.inner, width)
        yield from layer(f"{target}.{mlp[1]}", down, width, sizes.inner)


def _norm(target: str, source: str, width: int, has_bias: bool) -> Iterator[Weight]:
    """LayerNorm, or RMSNorm, which has no bias."""
    for part in ("weight", "bias") if has_bias else ("weight",):
        yield Weight(f"{target}.{part}", (f"{source}.{part}",), (width,))


def _attention(file: MmprojFile, source: str, target: str, width: int) -> Iterator[Weight]:
    """Queries, keys and values as one, whether the file has them so or apart."""
    whole = f"{source}.attn_qkv.weight" in file.tensors
    names = ("attn_qkv",) if whole else ("attn_q", "attn_k", "attn_v")
    rows = 3 * width // len(names)
    for part, shape in (("weight", (rows, width)), ("bias", (rows,))):
        sources = tuple(f"{source}.{name}.{part}" for name in names)
        yield Weight(f"{target}.attn.qkv.{part}", sources, shape, np.concatenate)
    yield from layer(f"{target}.attn.proj", f"{source}.attn_out", width, width)


def _as_film(frames: Sequence[Values]) -> Values:
    """Weights of each frame -> of a convolution in time, height and width."""
    film: Values = np.stack(frames, axis=2)
    return film
