"""Configs of open_clip's models."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import open_clip
from open_clip.model import CLIPVisionCfg
from open_clip.transform import PreprocessCfg

from ....core.contracts.specs import JsonDict


def model_config(vision_config: JsonDict) -> dict[str, Any]:
    """The model's whole config. Raises ValueError for a name that open_clip doesn't know, and for
    a `model_cfg` without its tower."""
    given = vision_config.get("model_cfg")
    if given is None:
        return _config_of(vision_config.get("model_name"))
    for part in ("embed_dim", "vision_cfg"):
        if part not in given:
            raise ValueError(f"vision_config.model_cfg has no {part}")
    return dict(given)


def vision_settings(vision_config: JsonDict) -> CLIPVisionCfg:
    """The tower's, with open_clip's defaults. Raises ValueError for what open_clip doesn't know."""
    settings = model_config(vision_config)["vision_cfg"]
    try:
        return CLIPVisionCfg(**{**settings, "timm_model_pretrained": False})
    except TypeError as error:
        raise ValueError(f"vision_config.model_cfg.vision_cfg is not valid: {error}") from error


def published_preprocessing(vision_config: JsonDict) -> dict[str, Any]:
    """Preprocessing of the model's published weights, if they agree; else open_clip's default."""
    name = vision_config.get("model_name")
    tags = open_clip.list_pretrained_tags_by_model(name) if name else []
    found = [_known(open_clip.get_pretrained_cfg(name, tag)) for tag in tags]
    agreed = found and all(settings == found[0] for settings in found)
    return found[0] if agreed else asdict(PreprocessCfg())


def frozen(settings: JsonDict) -> dict[str, Any]:
    """Settings with tuples in place of JSON's lists, so that equal settings compare equal."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}


def _config_of(name: Any) -> dict[str, Any]:
    if name not in open_clip.list_models():
        raise ValueError(
            f"vision_config.model_name {name!r} is not a model of open_clip; "
            "open_clip.list_models() has them all"
        )
    return dict(open_clip.get_model_config(name))


def _known(settings: JsonDict) -> dict[str, Any]:
    """Preprocessing settings of a tag."""
    defaults = asdict(PreprocessCfg())
    return frozen({key: settings.get(key, default) for key, default in defaults.items()})
