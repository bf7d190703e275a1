"""Any tower of open_clip, or of timm through it: built, and read block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from open_clip.model import _build_vision_tower
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from ....core.contracts.specs import JsonDict
from .config import model_config, vision_settings

_build: Any = _build_vision_tower


def build_tower(vision_config: JsonDict) -> Any:
    """The module, with open_clip's names. Raises ValueError for a config that is not valid."""
    settings, config = vision_settings(vision_config), model_config(vision_config)
    return _build(config["embed_dim"], settings, bool(config.get("quick_gelu")))


def chosen_blocks(visual: Any, feature_layers: Sequence[int]) -> list[int]:
    """The blocks after which the states stand that `feature_layers` index, as `hidden_states` of
    transformers does.

    Raises ValueError for the state before the first block, which open_clip doesn't give, and for
    any but the last of a tower that narrows its grid on the way.
    """
    blocks = _blocks(visual)
    if blocks is None:
        if any(layer != -1 for layer in feature_layers):
            raise ValueError(
                f"vision_feature_layer {list(feature_layers)}: this tower's grid narrows from "
                "stage to stage; only -1, its last, is served"
            )
        return list(feature_layers)
    count = len(blocks)
    chosen = [layer - 1 if layer > 0 else layer + count for layer in feature_layers]
    if any(not 0 <= block < count for block in chosen):
        raise ValueError(
            f"vision_feature_layer {list(feature_layers)} is out of range: this tower gives "
            f"layers 1 to {count}, or -{count} to -1"
        )
    return chosen


def read_features(visual: Any, pixel_values: Tensor, blocks: Sequence[int]) -> Tensor:
    """[n, 3, height, width] -> [n, num_tokens, hidden_size].

    The states after `blocks` side by side, or, if there are none, the last one with the tower's
    norm. A class token is the first feature; registers are left out.
    """
    read = visual.forward_intermediates(
        pixel_values,
        indices=sorted(set(blocks)) or 1,
        stop_early=bool(blocks),
        normalize_intermediates=not blocks and not _norms_after_pooling(visual),
        intermediates_only=True,
        output_extra_tokens=_has_class_token(visual),
    )
    states = [grid.flatten(2).transpose(1, 2) for grid in read["image_intermediates"]]
    if _has_class_token(visual):
        prefixes = read["image_intermediates_prefix"]
        pairs = zip(prefixes, states, strict=True)
        states = [torch.cat((prefix[:, :1], state), dim=1) for prefix, state in pairs]
    by_block = dict(zip(sorted(set(blocks)), states, strict=True)) if blocks else {}
    return torch.cat([by_block[block] for block in blocks] or states, dim=-1)


def features_shape(vision_config: JsonDict, feature_layers: Sequence[int]) -> tuple[int, int]:
    """(num_tokens, hidden_size) of one image's features, from a run without numbers."""
    size = vision_settings(vision_config).image_size
    height, width = (size, size) if isinstance(size, int) else size
    with torch.device("meta"), torch.inference_mode():
        visual = build_tower(vision_config).eval()
        blocks = chosen_blocks(visual, feature_layers)
        features = read_features(visual, torch.empty(1, 3, height, width), blocks)
    return features.shape[1], features.shape[2]


def make_tables(visual: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Compute what a tower holds besides its checkpoint's weights, such as rotary angles.

    Raises ValueError for a tower that can't do so before its weights are there.
    """
    with device:
        for module in visual.modules():
            if module._non_persistent_buffers_set:
                _compute_tables(module, device)
        visual.to(dtype)
    weights = set(visual.state_dict())
    for name, table in visual.named_buffers():
        if name not in weights and table.is_meta:
            raise ValueError(
                f"vision_config: this tower of open_clip is not supported: its {name} is not in "
                "checkpoints and can't be computed before they are loaded"
            )


def _compute_tables(module: nn.Module, device: torch.device) -> None:
    for key in module._non_persistent_buffers_set:
        table = module._buffers[key]
        if table is not None:
            module._buffers[key] = torch.empty_like(table, device=device)
    compute: Any = getattr(module, "init_non_persistent_buffers", None)
    if compute is None:
        raise ValueError(f"vision_config: {type(module).__name__} can't compute its tables anew")
    compute()


def _blocks(visual: Any) -> Any:
    """The blocks of a tower of tokens, or None for one of narrowing grids."""
    if isinstance(visual, VisionTransformer):
        return visual.transformer.resblocks
    trunk: Any = getattr(visual, "trunk", None)
    return trunk.blocks if hasattr(trunk, "num_prefix_tokens") else None


def _has_class_token(visual: Any) -> bool:
    if isinstance(visual, VisionTransformer):
        return True
    return getattr(getattr(visual, "trunk", None), "num_prefix_tokens", 0) > 0


def _norms_after_pooling(visual: Any) -> bool:
    """Whether the last norm is for the pooled vector, and the tokens go without."""
    return isinstance(visual, VisionTransformer) and (
        visual.attn_pool is not None or visual.final_ln_after_pool
    )
