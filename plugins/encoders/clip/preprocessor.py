"""CLIP's preprocessing: shorter side resized, centre cropped."""

from __future__ import annotations

from ....core.contracts.specs import JsonDict
from ....core.media.preprocess import OPENAI_MEAN, OPENAI_STD, PatchPreprocessor, PreprocessConfig

_DEFAULTS = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "default_to_square": False,
    "do_center_crop": True,
    "resample": 3,
    "image_mean": OPENAI_MEAN,
    "image_std": OPENAI_STD,
}


class CLIPPreprocessor(PatchPreprocessor):
    """See `plugin.ImagePreprocessor`."""

    def __init__(self, vision_config: JsonDict, processor_config: JsonDict) -> None:
        config = PreprocessConfig.from_dict(processor_config, _DEFAULTS)
        super().__init__(config, vision_config["patch_size"], extra_tokens=1)
