"""SigLIP's image preparation: resized to a square, not cropped."""

from __future__ import annotations

from ....core.contracts.specs import JsonDict
from ....core.media.preprocess import PatchPreprocessor, PreprocessConfig

_DEFAULTS = {
    "size": {"height": 224, "width": 224},
    "resample": 3,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
}


class SiglipPreprocessor(PatchPreprocessor):
    """See `plugin.ImagePreprocessor`."""

    def __init__(self, vision_config: JsonDict, processor_config: JsonDict) -> None:
        config = PreprocessConfig.from_dict(processor_config, _DEFAULTS)
        super().__init__(config, vision_config["patch_size"])
