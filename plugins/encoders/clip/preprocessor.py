"""CLIP's image preparation: shorter side resized, centre cropped."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ....core.contracts import ImageSize, JsonDict
from ....core.media.preprocess import OPENAI_MEAN, OPENAI_STD, PreprocessConfig
from .config import DEFAULTS

_DEFAULTS = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "default_to_square": False,
    "do_center_crop": True,
    "resample": 3,
    "image_mean": OPENAI_MEAN,
    "image_std": OPENAI_STD,
}


class CLIPPreprocessor:
    """See `core.contracts.ImagePreprocessor`."""

    def __init__(self, vision_config: JsonDict, processor_config: JsonDict) -> None:
        self._patch_size: int = vision_config.get("patch_size", DEFAULTS["patch_size"])
        self._config = PreprocessConfig.from_dict(processor_config, _DEFAULTS)

    def num_tokens(self, size: ImageSize) -> int:
        """The class token and the patches."""
        width, height = self._config.output_size(size)
        return 1 + (width // self._patch_size) * (height // self._patch_size)

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        """An RGB image -> [3, height, width]."""
        return self._config.apply(image)

    def fingerprint(self) -> str:
        """A digest of the settings."""
        return self._config.fingerprint()
