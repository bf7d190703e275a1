"""What open_clip says of a model."""

from __future__ import annotations

from typing import Any

import open_clip

from ....core.contracts import JsonDict

#: A residual network halves its image five times.
_RESNET_STRIDE = 32


def model_config(vision_config: JsonDict) -> dict[str, Any]:
    """The model's whole config. Raises ValueError for a name that open_clip doesn't know."""
    given = vision_config.get("model_cfg")
    if given is not None:
        return dict(given)
    name = vision_config.get("model_name")
    config: dict[str, Any] | None = open_clip.get_model_config(name) if name else None
    if config is None:
        raise ValueError(
            f"vision_config.model_name {name!r} is not a model of open_clip; "
            "open_clip.list_models() has them all"
        )
    return config


def grid_stride(vision_config: JsonDict) -> int:
    """Pixels a side that one feature stands for. Raises ValueError for a tower without a grid."""
    config = model_config(vision_config)["vision_cfg"]
    if "timm_model_name" in config:
        raise ValueError("towers that open_clip takes from timm are not supported")
    stride = _RESNET_STRIDE if isinstance(config["layers"], list) else config["patch_size"]
    return int(stride)
