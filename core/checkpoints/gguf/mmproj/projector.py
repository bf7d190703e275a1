"""What a projector file makes of a language model, in transformers' words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....contracts.specs import JsonDict
from .mmproj_file import MmprojFile

Values = NDArray[np.float32]

#: The parts of a block in towers of CLIP's kind, but for its feed-forward part.
_NORMS = {"ln1": "layer_norm1", "ln2": "layer_norm2"}
_ATTENTION = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_out": "self_attn.out_proj",
}


def _only(values: Sequence[Values]) -> Values:
    (tensor,) = values
    return tensor


@dataclass(frozen=True)
class Weight:
    """A tensor by transformers' name, and the file's that it is made of. shape: of each of those.
    make: how, of their values."""

    name: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    make: Callable[[Sequence[Values]], Values] = _only


@dataclass(frozen=True)
class Projector:
    """config: of the whole model, but for `text_config`; text_config: what that has besides the
    language model's own. image_processor: of its processor.

    prefix: what comes before names in transformers' language model, in place of "model.".
    placeholder: what a chat template writes for a picture. output: the file's tensor that gives
    what the language model gets; width: of that.
    """

    config: JsonDict
    image_processor: JsonDict
    weights: Sequence[Weight]
    prefix: str
    placeholder: str
    output: str
    width: int
    text_config: JsonDict = field(default_factory=dict)


@dataclass(frozen=True)
class SiglipSizes:
    """Of a tower. image, patch: sides in pixels. width: of its vectors. inner: of those within
    feed-forward layers."""

    image: int
    patch: int
    width: int
    inner: int
    heads: int
    blocks: int
    eps: float

    @property
    def patches(self) -> int:
        """In a side of an image."""
        return self.image // self.patch

    @classmethod
    def read(cls, file: MmprojFile) -> SiglipSizes:
        """Raises ConfigError if the file doesn't say, or has another activation than SigLIP."""
        file.expect("use_gelu", True, file.flag("use_gelu"))
        file.expect("use_silu", False, file.flag("use_silu"))
        width = file.size("vision.embedding_length")
        return cls(
            image=file.size("vision.image_size"),
            patch=file.size("vision.patch_size"),
            width=width,
            inner=file.size("vision.feed_forward_length"),
            heads=num_heads(file, width),
            blocks=file.num_blocks,
            eps=file.number("vision.attention.layer_norm_epsilon"),
        )

    @property
    def config(self) -> dict[str, Any]:
        """In transformers' words."""
        return {
            "image_size": self.image,
            "patch_size": self.patch,
            "hidden_size": self.width,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.blocks,
            "num_attention_heads": self.heads,
            "layer_norm_eps": self.eps,
            "hidden_act": "gelu_pytorch_tanh",
        }


def num_heads(file: MmprojFile, width: int) -> int:
    """Of the tower, whose vectors they share. Raises ConfigError if they can't."""
    key = "vision.attention.head_count"
    heads = file.size(key)
    if width % heads:
        raise file.error(f"clip.{key} = {heads} heads can't share vectors of {width}")
    return heads


def layer(target: str, source: str, rows: int, columns: int | None = None) -> Iterator[Weight]:
    """A layer's weight and bias. target, source: its names. columns: None for a norm's."""
    shape = (rows,) if columns is None else (rows, columns)
    yield Weight(f"{target}.weight", (f"{source}.weight",), shape)
    yield Weight(f"{target}.bias", (f"{source}.bias",), (rows,))


def feed_forward(file: MmprojFile, block: int, width: int) -> tuple[str, str]:
    """Names of the layers that make a block's vectors wider, and narrow again: older converters
    named them the wrong way round. width: of the tower. Raises ConfigError where their shapes
    don't tell."""
    up, down = f"v.blk.{block}.ffn_up", f"v.blk.{block}.ffn_down"
    rows, columns = file.matrix(f"{up}.weight")
    if rows == columns:
        raise file.error(
            f"{up}.weight is square, so that nothing tells whether {up} and {down} are named the "
            "wrong way round, as in files of older converters"
        )
    return (up, down) if columns == width else (down, up)


def siglip_weights(file: MmprojFile, prefix: str, sizes: SiglipSizes) -> Iterator[Weight]:
    """All of SigLIP's tower but its pooling head. prefix: of transformers' names."""
    width, side = sizes.width, sizes.patch
    patches, positions = f"{prefix}embeddings.patch_embedding", "v.position_embd.weight"
    yield Weight(f"{patches}.weight", ("v.patch_embd.weight",), (width, 3, side, side))
    yield Weight(f"{patches}.bias", ("v.patch_embd.bias",), (width,))
    name = f"{prefix}embeddings.position_embedding.weight"
    yield Weight(name, (positions,), (sizes.patches**2, width))
    for block in range(sizes.blocks):
        yield from _siglip_block(file, block, f"{prefix}encoder.layers.{block}", sizes)
    yield from layer(f"{prefix}post_layernorm", "v.post_ln", width)


def _siglip_block(
    file: MmprojFile, block: int, target: str, sizes: SiglipSizes
) -> Iterator[Weight]:
    width, inner = sizes.width, sizes.inner
    for source, part in _NORMS.items():
        yield from layer(f"{target}.{part}", f"v.blk.{block}.{source}", width)
    for source, part in _ATTENTION.items():
        yield from layer(f"{target}.{part}", f"v.blk.{block}.{source}", width, width)
    up, down = feed_forward(file, block, width)
    yield from layer(f"{target}.mlp.fc1", up, inner, width)
    yield from layer(f"{target}.mlp.fc2", down, width, inner)


def colours(file: MmprojFile) -> dict[str, Any]:
    """What pixels are normalised by."""
    return {
        "image_mean": file.colour("vision.image_mean"),
        "image_std": file.colour("vision.image_std", above_0=True),
    }
