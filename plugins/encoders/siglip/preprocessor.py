"""SigLIP's image preparation: resized to a square, not cropped."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ....core.contracts import ImageSize, JsonDict
from ....core.media.preprocess import PreprocessConfig
from .config import DEFAULTS

_DEFAULTS = {
    "size": {"height": 224, "width": 224},
    "resample": 3,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
}


class SiglipPreprocessor:
    """See `core.contracts.ImagePreprocessor`."""

    def __init__(self, vision_config: JsonDict, processor_config: JsonDict) -> None:
        self._patch_size: int = vision_config.get("patch_size", DEFAULTS["patch_size"])
        self._config = PreprocessConfig.from_dict(processor_config, _DEFAULTS)

    def num_tokens(self, size: ImageSize) -> int:
        """The patches."""
        width, height = self._config.output_size(size)
        return (width // self._patch_size) * (height // self._patch_size)

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        """An RGB image -> [3, height, width]."""
        return self._config.apply(image)

    def fingerprint(self) -> str:
        """A digest of the settings."""
        return self._config.fingerprint()
