"""InternViT's preprocessing: resized to a square."""

from __future__ import annotations

from ....core.contracts.specs import JsonDict
from ....core.media.preprocess import PatchPreprocessor, PreprocessConfig

_DEFAULTS = {
    "size": {"height": 448, "width": 448},
    "resample": 3,
    "image_mean": (0.485, 0.456, 0.406),
    "image_std": (0.229, 0.224, 0.225),
}


class InternVisionPreprocessor(PatchPreprocessor):
    """See `plugin.ImagePreprocessor`."""

    def __init__(self, vision_config: JsonDict, processor_config: JsonDict) -> None:
        config = PreprocessConfig.from_dict(processor_config, _DEFAULTS)
        super().__init__(config, vision_config["patch_size"][0], extra_tokens=1)
