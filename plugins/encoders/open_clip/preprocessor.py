"""open_clip's own image preparation."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from ....core.contracts import ImagePreprocessor, ImageSize, JsonDict, PreprocessedImage
from ....core.media.preprocess import OPENAI_MEAN, OPENAI_STD
from .config import grid_stride, model_config


class OpenClipPreprocessor(ImagePreprocessor):
    """See `core.contracts.ImagePreprocessor`. The processor's settings are those that open_clip's
    checkpoints have as `preprocess_cfg`, or `image_mean` and `image_std`."""

    def __init__(self, vision_config: JsonDict, processor_config: JsonDict) -> None:
        given = processor_config.get("preprocess_cfg") or {
            "mean": tuple(processor_config.get("image_mean") or OPENAI_MEAN),
            "std": tuple(processor_config.get("image_std") or OPENAI_STD),
        }
        size = model_config(vision_config)["vision_cfg"]["image_size"]
        self._settings = PreprocessCfg(**{"size": size, **given})
        self._transform: Any = image_transform_v2(self._settings, is_train=False)
        height, width = (size, size) if isinstance(size, int) else size
        stride = grid_stride(vision_config)
        self._num_tokens: int = (height // stride) * (width // stride)

    def num_tokens(self, size: ImageSize) -> int:
        """The same for all."""
        return self._num_tokens

    def preprocess(self, image: Image.Image) -> PreprocessedImage:
        """An RGB image -> [3, height, width]."""
        return PreprocessedImage(self._transform(image).numpy())

    def fingerprint(self) -> str:
        """A digest of the settings."""
        return sha256(repr(self._settings).encode()).hexdigest()
