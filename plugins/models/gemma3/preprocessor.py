"""Gemma 3's image preparation: resized to a square, whatever the aspect."""

from __future__ import annotations

from ....core.contracts.specs import ImageSize, JsonDict
from ....core.media.preprocess import PatchPreprocessor, PreprocessConfig

_DEFAULTS = {
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
}


class Gemma3Preprocessor(PatchPreprocessor):
    """See `plugin.ImagePreprocessor`. Raises ValueError if crops are asked for."""

    def __init__(self, config: JsonDict, processor_config: JsonDict) -> None:
        if processor_config.get("do_pan_and_scan"):
            raise ValueError("preprocessor_config.json: do_pan_and_scan is not supported")
        parsed = PreprocessConfig.from_dict(processor_config, _DEFAULTS)
        super().__init__(parsed, config["vision_config"]["patch_size"])
        self._tokens_per_image: int = config["mm_tokens_per_image"]

    def num_tokens(self, size: ImageSize) -> int:
        """Number of features that the projector pools the tower's patches into."""
        return self._tokens_per_image
